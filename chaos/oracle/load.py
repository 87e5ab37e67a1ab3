"""Whether there was room: a job that is back in its queue may still have to wait for a free thread."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict

from chaos.oracle.facts import Facts
from chaos.oracle.strikes import GRAIN


class Load:
    """How many runs were open, how many could have been, and which jobs of a queue began when."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._begins: list[float] = []
        self._ends: list[float] = []
        self._first_starts: defaultdict[str, list[float]] = defaultdict(list)
        for story in facts.stories.values():
            if story.runs and story.sent is not None:
                self._first_starts[story.sent.queue].append(story.runs[0].started_at)
            for run in story.runs:
                process = facts.fleet.process(run)
                deaths = [death.earliest for death in facts.strikes.deaths(process) if death.latest >= run.started_at]
                self._begins.append(run.started_at)
                self._ends.append(run.ended_at if run.ended_at is not None else min([process.until, *deaths]))
        for times in (self._begins, self._ends, *self._first_starts.values()):
            times.sort()

    def overtaken(self, queue: str, begin: float, end: float) -> bool:
        """Whether a fresh job of this queue began in this span: a job that lay at its front would have come first."""
        starts = self._first_starts[queue]
        at = bisect_right(starts, begin + GRAIN)
        return at < len(starts) and starts[at] < end

    def idle(self, at: float, without: int) -> bool:
        """Whether fewer runs were open than the ready pods have threads, `without` so many processes."""
        settings = self._facts.settings
        pods = sum(self._serves(name, at) for name in self._facts.fleet.lives)
        threads = (pods * settings.processes - without) * settings.concurrency
        return bisect_right(self._begins, at) - bisect_right(self._ends, at) < threads

    def _serves(self, name: str, at: float) -> bool:
        life = self._facts.fleet.lives[name]
        return life.ready <= at < min(life.told, life.leaves, self._facts.strikes.main_death(name))
