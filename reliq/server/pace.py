"""Pace: how long jobs run, by their names as payloads spell them, and how many of the next ones fit into a given time.

Only estimates: they decide how much is claimed ahead and how many threads are woken for it, and whoever waits too
long behind a wrong one is released.
"""

from __future__ import annotations

QUICK = 0.001
"""Seconds. Jobs that run shorter share a thread: to wake one takes a good part of that."""

PATIENCE = 0.05
"""Seconds that a claimed job waits for a slot before it is released for others. What runs longer is not claimed ahead:
one wrong guess, and the next one would have to wait for that."""

OVERHEAD = 10e-6
"""Seconds that reliq itself needs for a job, one at a time."""

PLENTY = 0.75
"""Of what may be claimed ahead, so much is plenty. With less the next turn is sent at once: it brings up to a half."""

MOST = 500
"""The most that is claimed ahead, however quick the jobs are."""

NAMES = 1000
"""As many names have an estimate; what comes after them counts as unknown. What is in the payloads is anybody's."""

_UNKNOWN = 1.0
"""Seconds assumed of a name that has never run."""

_NEW = 0.25
"""Weight of the newest runs in the estimate of their name."""

_MIX = 0.125
"""Weight of the newest claim in the estimate of its queue."""

_SURPRISE = 100e-6
"""Seconds by which a run may exceed twice the estimate before it counts as that: a thread that had to wait for the
interpreter says nothing about the job."""


class Pace:
    """The estimates of one process of so many threads. Seconds all over; places are the queues, by their index."""

    def __init__(self, places: int, threads: int) -> None:
        self._threads = threads
        self._names: dict[bytes, float] = {}
        self._queues: list[float | None] = [None] * places

    def expect(self, name: bytes, place: int) -> float:
        """Return the estimate for a job that was claimed from this place; it counts as a sample of its queue."""
        seconds, mean = self._names.get(name), self._queues[place]
        if seconds is None:
            return _UNKNOWN
        self._queues[place] = seconds if mean is None else mean + _MIX * (seconds - mean)
        return seconds

    def learn(self, name: bytes, seconds: float) -> None:
        """Take note of how long it has run, on the average of those that ended together."""
        known = self._names.get(name)
        if known is None:
            if len(self._names) < NAMES:
                self._names[name] = seconds
        else:
            self._names[name] = known + _NEW * (min(seconds, 2 * known + _SURPRISE) - known)

    def mean(self, place: int) -> float:
        """Return how long a job of this place runs on the average."""
        mean = self._queues[place]
        return _UNKNOWN if mean is None else mean

    def wall(self, work: float, jobs: int) -> float:
        """Return in what time all threads together get through `jobs` jobs that take `work` seconds in all."""
        return work / self._threads + OVERHEAD * jobs

    def ahead(self, place: int, budget: float) -> int:
        """Return how many of the next jobs of this place all threads together get through in `budget` seconds."""
        each = self.mean(place)
        if each >= PATIENCE or budget <= 0:
            return 0
        return min(MOST, int(budget / self.wall(each, 1)))
