"""Intake: how much a process claims, and what becomes of claims until a thread begins them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reliq.clock import Clock
from reliq.server.executor.run import Run
from reliq.server.executor.threads import Threads
from reliq.server.pace import PATIENCE, Pace
from reliq.store.claims import Claim, Ending


class Intake:
    """Claims on their way to the threads. `prefetch` is in seconds of work; nothing fits while `may_start` says no."""

    def __init__(
        self, threads: Threads, queues: Sequence[str], prefetch: float, may_start: Callable[[], bool], clock: Clock
    ) -> None:
        self._threads = threads
        self._queues = tuple(queues)
        self._prefetch = prefetch
        self._may_start = may_start
        self._clock = clock
        self._pace = Pace(len(queues), threads.concurrency)

    def limits(self) -> list[int]:
        """Return how many jobs of each queue fit: one for each free thread, and what is done in no time ahead of them.

        Ahead only while the line moves: behind slow jobs a quick one is slow, too. And one of each queue while there
        is a line: else a queue of quick jobs would keep out the slow ones of another, for no thread is ever free.
        """
        places = range(len(self._queues))
        if not self._may_start():
            return [0 for _ in places]
        threads, left = self._threads, self._prefetch
        if not left or not (threads.free or threads.due(self._clock.mono(), left)):
            return [threads.free for _ in places]
        left -= self._pace.wall(threads.backlog, threads.waiting)
        least = 1 if threads.waiting and left > 0 else 0
        return [max(least, threads.free + self._pace.ahead(place, left)) for place in places]

    def take(self, claims: Sequence[Claim]) -> None:
        """Put claims into the line."""
        if not claims:
            return
        now = self._clock.mono()
        runs = [Run(claim, self._queues[claim.place], now) for claim in claims]
        for run in runs:
            if run.job is not None:
                run.expected = self._pace.expect(run.job.name, run.claim.place)
        self._threads.push(runs)

    def overdue(self) -> list[Claim]:
        """Return claims that have waited in vain, taken out of the line; see that the rest does not."""
        now = self._clock.mono()
        if not self._threads.waiting or not self._may_start():
            return []
        self._threads.nudge(now)
        return self.take_back(now - PATIENCE) if self._threads.full else []

    def take_back(self, since_before: float = float("inf")) -> list[Claim]:
        """Return all claims that no thread has begun, or the older ones of them, taken out of the line."""
        return [run.claim for run in self._threads.take_back(since_before)]

    def collect(self) -> list[tuple[Run, Ending]]:
        """Return the runs that ended since the last call."""
        ended = self._threads.collect()
        for run, _ in ended:
            if run.definition is not None:
                self._pace.learn(run.definition.name, run.took)
        return ended
