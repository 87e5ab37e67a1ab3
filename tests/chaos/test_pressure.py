"""The kernel's account of waiting becomes spans."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.pressure import Pressure


class Kernel:
    """An account of our own, and a clock."""

    def __init__(self, place: Path) -> None:
        self.path = place / "cpu"
        self.at = 100.0
        self.total = 7_000_000
        self.write()

    def write(self) -> None:
        """Write it as the kernel does, microseconds."""
        line = "some avg10=0.37 avg60=6.16 avg300=21.48 total={}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
        self.path.write_text(line.format(self.total))

    def passes(self, seconds: float, waited: float) -> None:
        """Let time pass, some of it spent waiting."""
        self.at += seconds
        self.total += int(waited * 1e6)
        self.write()


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


def test_time_in_which_much_was_waited_is_noted(kernel: Kernel) -> None:
    pressure = Pressure(kernel.path, lambda: kernel.at)
    pressure.look()
    for seconds, waited in ((1.0, 0.2), (1.0, 0.4), (0.5, 0.5), (1.0, 0.0), (1.0, 0.31)):
        kernel.passes(seconds, waited)
        pressure.look()
    assert pressure.spans == [(101.0, 102.5), (103.5, 104.5)]


def test_a_kernel_without_an_account_has_no_spans(tmp_path: Path) -> None:
    pressure = Pressure(tmp_path / "nothing")
    pressure.start()
    pressure.join(5)
    assert not pressure.is_alive()
    assert pressure.spans == []


def test_it_looks_until_it_is_told_to_stop(kernel: Kernel) -> None:
    pressure = Pressure(kernel.path)
    pressure.start()
    pressure.stop()
    pressure.join(5)
    assert not pressure.is_alive()
