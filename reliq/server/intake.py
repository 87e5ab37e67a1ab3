"""Intake: how much a process claims, and what becomes of claims until a thread begins them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from math import inf

from reliq.clock import Clock
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
        self._fresh: list[Claim] = []
        self._fresh_work = 0.0

    def limits(self) -> list[int]:
        """Return how many jobs of each queue fit: one for each free thread, and what is done in no time ahead of them.

        Ahead only while the line moves: behind slow jobs a quick one is slow, too. And one of each queue while there
        is a line: else a queue of quick jobs would keep out the slow ones of another, for no thread is ever free.
        """
        places = range(len(self._queues))
        if not self._may_start():
            return [0 for _ in places]
        free, left = max(0, self._threads.free - len(self._fresh)), self._prefetch
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
        return self._pace.wall(threads.backlog + self._fresh_work, threads.waiting + len(self._fresh))

    @property
    def fresh(self) -> int:
        """How many claims have been put off."""
        return len(self._fresh)

    def put_off(self, claims: Sequence[Claim]) -> None:
        """Take claims at the next `catch_up`.

        For many at once, while there may be another turn to send: to read them takes as long as the server needs for
        that turn, so it is done meanwhile.
        """
        self._fresh += claims
        self._fresh_work += sum(self._pace.mean(claim.place) for claim in claims)

    def catch_up(self) -> None:
        """Take what was put off."""
        if self._fresh:
            claims, self._fresh, self._fresh_work = self._fresh, [], 0.0
            self.take(claims)

    def take(self, claims: Sequence[Claim]) -> None:
        """Put claims into the line."""
        self.catch_up()
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

    def take_back(self, since_before: float = inf) -> list[Claim]:
        """Return all claims that no thread has begun, or the older ones of those in the line."""
        claims = [run.claim for run in self._threads.take_back(since_before)]
        if since_before == inf:
            claims, self._fresh, self._fresh_work = claims + self._fresh, [], 0.0
        return claims

    def collect(self) -> list[tuple[Run, Ending]]:
        """Return the runs that ended since the last call."""
        ended = self._threads.collect()
        times: dict[str, list[float]] = defaultdict(list)
        by_queue: dict[str, list[float]] = defaultdict(list)
        for run, _ in ended:
            if run.definition is not None:
                times[run.definition.name].append(run.took)
                by_queue[run.queue].append(run.took)
        for name, took in times.items():
            self._pace.learn(name, sum(took) / len(took))
        for queue, took in by_queue.items():
            self._tally.add(queue, took)
        return ended

    def ran(self) -> dict[str, Ran]:
        """Return what ran since the last call, by queue; every few seconds only, in between nothing."""
        return self._tally.take()
