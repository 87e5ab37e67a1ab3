"""What the ledger proves: which job ran again because of which kill, and what is wrong."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise
from statistics import median

import attrs

from reliq.cli.demo.ledger import Kill, Run
from reliq.inspect import StatusView


@attrs.frozen
class Again:
    """A job that ran once more. `kill` is why: it ended the process of the run before. None: nothing explains it."""

    before: Run
    run: Run
    kill: Kill | None

    @property
    def after(self) -> float:
        """Seconds from the kill to the next start of the job."""
        return self.run.started - self.kill.at if self.kill else 0.0


@attrs.frozen
class Effect:
    """What one kill did: the runs it cut off, and the further runs that it is the reason of.

    A kill between the result of a job and its acknowledgement cuts nothing off, but is the reason of another run.
    """

    kill: Kill
    cut: list[Run]
    again: list[Again]

    @property
    def times(self) -> tuple[float, float] | None:
        """Median and worst seconds from the kill to the next start of its jobs; None if none started again."""
        times = [again.after for again in self.again]
        return (median(times), max(times)) if times else None

    @property
    def outstanding(self) -> int:
        """Jobs that were cut off and have not started again."""
        return len({run.file for run in self.cut} - {again.run.file for again in self.again})


def examine(runs: Sequence[Run], kills: Sequence[Kill]) -> tuple[list[Effect], list[Again]]:
    """Return what each kill did, and all runs after the first of their job; `runs` in the order of their starts."""
    by_file: dict[str, list[Run]] = {}
    for run in runs:
        by_file.setdefault(run.file, []).append(run)
    again = [
        Again(before, run, next((kill for kill in kills if kill.hit(before) and run.started >= kill.at), None))
        for of_file in by_file.values()
        for before, run in pairwise(of_file)
    ]
    effects = []
    ended: set[int] = set()
    for kill in kills:
        cut = [run for run in runs if run.ended is None and kill.hit(run) and run.id not in ended]
        ended |= {run.id for run in cut}
        effects.append(Effect(kill, cut, [one for one in again if one.kill is kill]))
    return effects, again


def pending(status: StatusView) -> int:
    """Return how many jobs Redis still has to see to."""
    of_queues = sum(queue.size + queue.held + queue.orphaned + queue.quarantined for queue in status.queues)
    return of_queues + status.scheduled + status.retries


@attrs.frozen(kw_only=True)
class Proof:
    """All there is to say at the end. `status` is that of Redis after the workers have left; times are seconds."""

    files: Collection[str]
    results: dict[str, int]
    runs: list[Run]
    kills: list[Kill]
    kills_wanted: int
    status: StatusView
    seconds: float
    late: bool
    effects: list[Effect] = attrs.field(init=False)
    again: list[Again] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        effects, again = examine(self.runs, self.kills)
        object.__setattr__(self, "effects", effects)
        object.__setattr__(self, "again", again)

    @property
    def undone(self) -> int:
        """Jobs that have no result, but are still in Redis: in a queue, held, to be retried, or dead."""
        return pending(self.status) + self.status.dead

    @property
    def lost(self) -> int:
        """Jobs that have no result, and are not in Redis either."""
        return max(0, len(self.files) - len(self.results) - self.undone)

    @property
    def unexplained(self) -> list[Again]:
        """Further runs that no kill explains."""
        return [again for again in self.again if again.kill is None]

    def problems(self) -> list[str]:
        """Return why this run proves nothing, or the opposite; empty if all is well."""
        found = []
        if self.late:
            found.append("the deadline passed")
        if self.lost:
            found.append(f"{_count(self.lost, 'job')} lost")
        if self.undone:
            found.append(f"{_count(self.undone, 'job')} left in Redis, {self.status.dead:,} of them dead")
        if self.unexplained:
            found.append(f"{_count(len(self.unexplained), 'further run')} that no kill explains")
        if self.status.processed != len(self.results) or self.status.failed:
            found.append(
                f"Redis counted {self.status.processed:,} runs that ended, {self.status.failed:,} of them failed, "
                f"and the ledger has {len(self.results):,} results"
            )
        if len(self.kills) < self.kills_wanted and not self.late:
            found.append("the jobs came to an end before all kills were done; take more of them")
        elif not all(effect.cut for effect in self.effects):
            found.append("a kill that hit no running job")
        return found


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
