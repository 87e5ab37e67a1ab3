"""What the doctor says about clocks and round trips."""

import time

import attrs
import pytest

from reliq.clock import SystemClock
from reliq.doctor import Level
from tests.doctor.conftest import Doctor


@attrs.define
class WrongClock(SystemClock):
    """A wall clock that is `ahead` seconds ahead, and a monotonic one on which everything takes `slower` s longer."""

    ahead: float = 0.0
    slower: float = 0.0
    _looks: int = 0

    def wall(self) -> float:
        """Return the wrong time."""
        return time.time() + self.ahead

    def mono(self) -> float:
        """Return a time that runs on by `slower` at every look."""
        self._looks += 1
        return time.monotonic() + self._looks * self.slower


@pytest.mark.parametrize(
    ("ahead", "name", "said"),
    [
        (0.0, "ok", "agree within"),
        (0.5, "ok", "agree within 0.5"),
        (3.0, "clock-skew", "3.0 s ahead of"),
        (-30.0, "clock-skew", "30.0 s behind"),
        (3600.0, "large-clock-skew", "3600.0 s ahead of"),
        (-3600.0, "large-clock-skew", "3600.0 s behind"),
    ],
)
def test_the_clock(doctor: Doctor, ahead: float, name: str, said: str) -> None:
    found = doctor("clock", clock=WrongClock(ahead=ahead))
    assert found.keys() == {name}
    assert said in found[name].what


@pytest.mark.parametrize(
    ("slower", "ttl", "levels"),
    [
        # With a beat of 0.2 s, a beat may take half a TTL less 0.2 s.
        (0.0, 1.0, {"ok": Level.OK}),
        (0.1, 4.0, {"slow-round-trips": Level.WARNING}),
        (0.2, 1.0, {"beats-at-risk": Level.WARNING, "slow-round-trips": Level.WARNING}),
        (0.4, 1.0, {"beats-too-slow": Level.PROBLEM, "slow-round-trips": Level.WARNING}),
        (0.4, 10.0, {"slow-round-trips": Level.WARNING}),
    ],
)
def test_round_trips(doctor: Doctor, slower: float, ttl: float, levels: dict[str, Level]) -> None:
    found = doctor("latency", clock=WrongClock(slower=slower), ttl=ttl)
    assert {name: one.level for name, one in found.items()} == levels
