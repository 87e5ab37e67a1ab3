"""Tally: what a process has run, by queue, until it is told to the fleet."""

from __future__ import annotations

from collections.abc import Sequence

from reliq.clock import Clock
from reliq.store.paces import Ran

EVERY = 5.0
"""Seconds between two words to the fleet."""


class Tally:
    """Counts runs. Used by the loop's thread only."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._taken_at = float("-inf")
        self._ran: dict[str, list[float]] = {}

    def add(self, queue: str, took: Sequence[float]) -> None:
        """Count runs that took so many seconds each."""
        ran = self._ran.setdefault(queue, [0.0, 0.0])
        ran[0] += len(took)
        ran[1] += sum(took)

    def take(self) -> dict[str, Ran]:
        """Return what was counted since the last time, and begin anew; nothing until it is time again."""
        now = self._clock.mono()
        if not self._ran or now - self._taken_at < EVERY:
            return {}
        taken, self._ran, self._taken_at = self._ran, {}, now
        return {queue: Ran(runs, seconds) for queue, (runs, seconds) in taken.items()}
