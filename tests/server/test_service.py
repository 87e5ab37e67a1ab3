"""The contract of every duty: start, stop and join in any order; errors end nothing."""

from __future__ import annotations

import logging
import threading
from functools import partial

import pytest

from chaos.eventually import eventually
from reliq.errors import Refused, Unreachable
from reliq.server.service import Service


class Counting(Service):
    """Ticks as fast as it can, and fails when it is told to."""

    name = "counting"

    def __init__(self, *errors: Exception) -> None:
        super().__init__(longest_backoff=0.01)
        self.errors = list(errors)
        self.ticks = 0
        self.closed = 0

    def tick(self) -> float:
        self.ticks += 1
        if self.errors:
            raise self.errors.pop(0)
        return 0.001

    def close(self) -> None:
        self.closed += 1


def ahead(duty: Counting, ticks: int) -> bool:
    return duty.ticks > ticks


def test_it_ticks_until_it_is_stopped_and_then_closes() -> None:
    duty = Counting()
    duty.start()
    eventually(lambda: duty.ticks > 3)
    duty.stop()
    assert duty.join()
    ticks = duty.ticks
    assert duty.closed == 1
    assert not any(thread.name == "reliq-counting" for thread in threading.enumerate())
    assert duty.ticks == ticks


def test_starting_twice_makes_one_thread() -> None:
    duty = Counting()
    duty.start()
    duty.start()
    assert sum(thread.name == "reliq-counting" for thread in threading.enumerate()) == 1
    duty.stop()
    assert duty.join()


def test_stopping_what_was_never_started_and_stopping_twice_is_fine() -> None:
    duty = Counting()
    duty.stop()
    assert duty.join()
    duty.start()
    eventually(lambda: duty.ticks > 0)
    duty.stop()
    duty.stop()
    assert duty.join()
    assert duty.join()


def test_it_can_be_started_again() -> None:
    duty = Counting()
    for rounds in (1, 2):
        duty.start()
        before = duty.ticks
        eventually(partial(ahead, duty, before))
        duty.stop()
        assert duty.join()
        assert duty.closed == rounds


def test_neither_an_outage_nor_a_mistake_ends_it() -> None:
    duty = Counting(Unreachable("gone"), Unreachable("still gone"), ZeroDivisionError("a bad entry"))
    duty.start()
    eventually(lambda: duty.ticks > 5)
    duty.stop()
    assert duty.join()
    assert duty.errors == []


def reported(caplog: pytest.LogCaptureFixture, duty: Counting, rounds: int) -> list[tuple[str, str]]:
    """Levels and texts of what so many ticks, one after the other, write."""
    caplog.set_level(logging.DEBUG, "reliq")
    caplog.clear()
    for _ in range(rounds):
        duty._guarded()
    return [(record.levelname, record.getMessage()) for record in caplog.records]


GONE, FULL, FORBIDDEN = Unreachable("gone"), Refused("loading", "LOADING"), Refused("not allowed", "NOPERM")


def test_an_outage_is_reported_once_with_its_end(caplog: pytest.LogCaptureFixture) -> None:
    duty = Counting(GONE, GONE, FULL, GONE)
    assert reported(caplog, duty, 6) == [("WARNING", "counting: gone"), ("INFO", "counting: Redis answers again")]


def test_an_outage_that_another_duty_reports_is_not_said_again(caplog: pytest.LogCaptureFixture) -> None:
    duty = Counting(GONE, FULL)
    duty.quiet_in_outages = True
    assert {level for level, _ in reported(caplog, duty, 3)} == {"DEBUG"}


@pytest.mark.parametrize("quiet", [False, True])
def test_a_refusal_is_reported_also_when_an_outage_came_before(caplog: pytest.LogCaptureFixture, quiet: bool) -> None:
    duty = Counting(GONE, FORBIDDEN, FORBIDDEN)
    duty.quiet_in_outages = quiet
    said = reported(caplog, duty, 3)
    assert said[1:] == [("WARNING", "counting: not allowed")]
