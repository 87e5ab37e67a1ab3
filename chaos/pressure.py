"""When the machine had too few processors: then what is bounded in time may be late without anybody's fault."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path

from chaos.records import now

PRESSURE = Path("/proc/pressure/cpu")
"""The kernel's account of how long programs that could have run waited for a processor (Linux, "PSI")."""

EVERY = 0.25
"""Seconds between two looks."""

SHORT = 0.3
"""The share of time, spent so, from which on the machine counts as short of processors."""


class Pressure(threading.Thread):
    """Notes the spans in which the machine was short of processors. Notes none where the kernel keeps no account."""

    def __init__(self, path: Path = PRESSURE, clock: Callable[[], float] = now) -> None:
        super().__init__(name="pressure", daemon=True)
        self.spans: list[tuple[float, float]] = []
        self._path = path
        self._clock = clock
        self._halt = threading.Event()
        self._last: tuple[float, float] | None = None

    def run(self) -> None:
        """Look until told to stop."""
        self.look()
        while self._last is not None and not self._halt.wait(EVERY):
            self.look()

    def stop(self) -> None:
        """Look no more."""
        self._halt.set()

    def look(self) -> None:
        """Take one reading, and note the time since the last one if too much of it was spent waiting."""
        waited, at = self._waited(), self._clock()
        if waited is None:
            self._last = None
            return
        if self._last is not None:
            before, since = self._last
            if waited - before > SHORT * (at - since):
                if self.spans and self.spans[-1][1] == since:
                    since = self.spans.pop()[0]
                self.spans.append((since, at))
        self._last = waited, at

    def _waited(self) -> float | None:
        """Return for how many seconds, in all, some program has waited."""
        try:
            found = re.search(r"^some .*\btotal=(\d+)$", self._path.read_text(encoding="ascii"), re.MULTILINE)
        except OSError:
            return None
        return int(found[1]) / 1e6 if found else None
