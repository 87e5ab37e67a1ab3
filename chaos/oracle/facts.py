"""The ledger's rows, arranged for judging: by job, by process, by moment."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property

import attrs

from chaos.ledger import Ledger
from chaos.oracle.fleet import Fleet
from chaos.oracle.spans import Spans
from chaos.oracle.strikes import Strikes
from chaos.records import Audit, Effect, FaultRecord, Final, Run, Sent, Settings

KILLERS = frozenset({"killer", "segfault", "exit", "leaves", "hog"})
"""Kinds of jobs that end their own process, every time."""

FORGOTTEN = frozenset({"once"})
"""Kinds of jobs that are forgotten when they fail."""

STRANGERS = frozenset({"stranger", "newcomer"})
"""Kinds of jobs whose name some worker may not know: they fail there without a run."""


@attrs.frozen(kw_only=True)
class Story:
    """Everything that the ledger knows of one job. `runs` in the order of their starts."""

    token: int
    sent: Sent | None
    runs: tuple[Run, ...]
    homes: tuple[str, ...]
    """Where it lies at the end; empty also if the end was not reached."""

    @property
    def kind(self) -> str:
        """The workload's kind; empty for a job that was never sent."""
        return self.sent.kind if self.sent else ""

    @property
    def killer(self) -> bool:
        """Whether it ends the process that runs it."""
        return self.kind in KILLERS

    @property
    def acked(self) -> bool:
        """Whether its producer was told that it is enqueued."""
        return self.sent is not None and self.sent.answer == "acked"

    @property
    def exists(self) -> bool:
        """Whether it was surely enqueued: somebody was told so, or has seen it."""
        return self.acked or bool(self.runs) or bool(self.homes)

    @property
    def done(self) -> bool:
        """Whether one of its runs returned."""
        return any(run.outcome == "done" for run in self.runs)

    @property
    def forgotten(self) -> bool:
        """Whether it failed and was to be forgotten then."""
        return self.kind in FORGOTTEN and any(run.outcome == "failed" for run in self.runs)

    @property
    def dead(self) -> bool:
        """Whether it lies in the dead set at the end."""
        return "dead" in self.homes

    def follower(self, run: Run) -> Run | None:
        """Return the run that started next after this one."""
        at = self.runs.index(run) + 1
        return self.runs[at] if at < len(self.runs) else None


@attrs.define(kw_only=True, slots=False)
class Facts:
    """One run of the harness."""

    settings: Settings
    final: Final | None
    stories: dict[int, Story]
    effects: list[Effect]
    audits: list[Audit]
    audits_failed: int
    """How many censuses were begun that Redis did not answer."""
    faults: list[FaultRecord]
    fleet: Fleet
    strikes: Strikes
    busy: Spans
    """When the machine was short of processors."""

    @property
    def runs(self) -> Iterable[Run]:
        """All runs, job by job."""
        return (run for story in self.stories.values() for run in story.runs)

    @cached_property
    def undone(self) -> bool:
        """Whether Redis lost writes in this run."""
        return bool(self.strikes.undone)

    def lost_by_redis(self, story: Story, before: float = math.inf) -> bool:
        """Whether Redis may have lost, before this moment, the very write that put this job there.

        What it keeps is everything up to a moment, so a job can only be lost by the loss of its enqueueing.
        """
        if story.sent is None:
            return False
        latest = math.inf if story.sent.known_at is None else story.sent.known_at
        if story.runs:
            latest = min(latest, story.runs[0].started_at)
        return any(loss.at <= before and loss.may_undo(story.sent.sent_at, latest) for loss in self.strikes.undone)


def load(ledger: Ledger) -> Facts:
    """Read a ledger. Raises KeyError if the run never began."""
    settings, final = ledger.settings(), ledger.final()
    stories = _stories(ledger.sent(), ledger.runs(), final.homes if final else {})
    faults = ledger.faults()
    fleet = Fleet(ledger.pod_events(), settings.ttl + settings.confirm)
    holders = [(run, story.follower(run)) for story in stories.values() if story.kind == "gil" for run in story.runs]
    return Facts(
        settings=settings,
        final=final,
        stories=stories,
        effects=ledger.effects(),
        audits=ledger.audits(),
        audits_failed=int(ledger.fact("audits_failed", 0)),
        faults=faults,
        fleet=fleet,
        strikes=Strikes(settings, fleet, faults, holders),
        busy=Spans((begin, end) for begin, end in ledger.fact("short_of_processors", [])),
    )


def _stories(sent: list[Sent], runs: list[Run], homes: dict[int, list[str]]) -> dict[int, Story]:
    jobs = {job.token: job for job in sent}
    by_token: defaultdict[int, list[Run]] = defaultdict(list)
    for run in runs:
        by_token[run.token].append(run)
    return {
        token: Story(
            token=token,
            sent=jobs.get(token),
            runs=tuple(by_token.get(token, ())),
            homes=tuple(homes.get(token, ())),
        )
        for token in sorted({*jobs, *by_token, *homes})
    }
