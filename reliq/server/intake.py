"""Intake: how much a process claims, and what becomes of claims until a thread begins them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from math import inf

from reliq.clock import Clock
from reliq.job import name_text
from reliq.server.executor.run import Run
from reliq.server.executor.threads import Threads
from reliq.server.pace import PATIENCE, PLENTY, Pace
from reliq.server.tally import Tally
from reliq.store.claims import Claim, Ending
from reliq.store.paces import Ran


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
        self._tally = Tally(clock)

    def limits(self) -> list[int]:
        """Return how many jobs of each queue fit: one for each free thread, and what is done in no time ahead of them.

        Ahead only while the line moves: behind slow jobs a quick one is slow, too. And one of each queue while there
        is a line: else a queue of quick jobs would keep out the slow ones of another, for no thread is ever free.
        """
        places = range(len(self._queues))
        if not self._may_start():
            return [0 for _ in places]
        free, left = self._threads.free, self._prefetch
        if not left or (self._threads.full and not self._threads.due(self._clock.mono(), left)):
            return [free for _ in places]
        left -= self._ahead()
        least = 1 if self._threads.waiting and left > 0 else 0
        # By halves: the threads get through one while the other one is on its way.
        left = min(left, self._prefetch / 2)
        return [max(least, free + self._pace.ahead(place, left)) for place in places]

    def plenty(self) -> bool:
        """True while there is so much in the line that the next turn may wait until it is worth its while."""
        return self._may_start() and self._ahead() > PLENTY * self._prefetch

    def _ahead(self) -> float:
        """Seconds until the threads are through with all there is."""
        threads = self._threads
        return self._pace.wall(threads.backlog, threads.waiting)

    def take(self, claims: Sequence[Claim]) -> None:
        """Put claims into the line, unread: what was read of hundreds would fall out of the processor's cache."""
        if not claims:
            return
        now, queues, expect = self._clock.mono(), self._queues, self._pace.expect
        self._threads.push(
            [Run(claim, queues[claim.place], now, expect(name_text(claim.payload), claim.place)) for claim in claims]
        )

    def overdue(self) -> list[Claim]:
        """Return claims that have waited in vain, taken out of the line; see that the rest does not."""
        now = self._clock.mono()
        if not self._threads.waiting or not self._may_start():
            return []
        self._threads.nudge(now)
        return self.take_back(now - PATIENCE) if self._threads.full else []

    def take_back(self, since_before: float = inf) -> list[Claim]:
        """Return all claims that no thread has begun, or the older ones of those in the line."""
        return [run.claim for run in self._threads.take_back(since_before)]

    def collect(self) -> list[tuple[Run, Ending]]:
        """Return the runs that ended since the last call."""
        ended = self._threads.collect()
        times: dict[str, list[float]] = defaultdict(list)
        by_queue: dict[str, list[float]] = defaultdict(list)
        payloads: dict[str, bytes] = {}
        for run, _ in ended:
            if run.definition is not None:
                name = run.definition.name
                times[name].append(run.took)
                by_queue[run.queue].append(run.took)
                payloads[name] = run.claim.payload
        for name, took in times.items():
            self._pace.learn(name_text(payloads[name]), sum(took) / len(took))
        for queue, took in by_queue.items():
            self._tally.add(queue, took)
        return ended

    def ran(self) -> dict[str, Ran]:
        """Return what ran since the last call, by queue; every few seconds only, in between nothing."""
        return self._tally.take()
