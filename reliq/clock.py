"""Three clocks, each named by what it is for."""

from __future__ import annotations

import time
from typing import Protocol

_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    """What duties ask for the time; tests pass a clock they move by hand."""

    def wall(self) -> float:
        """Return seconds since the epoch, for what is written down and compared between machines."""

    def mono(self) -> float:
        """Return seconds on a clock that never steps, for durations inside one process."""

    def boot(self) -> float:
        """Return seconds that go on through a suspend, for standing.

        A laptop that slept, or a virtual machine that was paused, must see that its heartbeat is old;
        CLOCK_MONOTONIC stands still in between. Comparable between the processes of one machine.
        """


class SystemClock:
    """The machine's clocks."""

    wall = staticmethod(time.time)
    mono = staticmethod(time.monotonic)

    @staticmethod
    def boot() -> float:
        """Return seconds since the machine was started, suspend included."""
        return time.clock_gettime(_BOOTTIME)
