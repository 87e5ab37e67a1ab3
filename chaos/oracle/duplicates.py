"""Every second run of a job has a cause: a failure, a stop, or a fault that struck its process."""

from __future__ import annotations

import math
from collections import Counter

import attrs

from chaos.oracle.causes import claim_lost, death_of, held, settle_lost
from chaos.oracle.facts import FORGOTTEN, STRANGERS, Facts, Story
from chaos.oracle.strikes import GRAIN, Hold
from chaos.records import Run
from chaos.verdict import Check, Finding


def check(facts: Facts) -> tuple[Check, Counter[str]]:
    """Judge every pair of runs that follow each other; also return how many had which cause."""
    findings: list[Finding] = []
    causes: Counter[str] = Counter()
    judged = 0
    for story in facts.stories.values():
        judged += len(story.runs)
        for pair in pairs(facts, story):
            cause = pair.cause()
            if cause is None:
                findings.append(Finding(what=pair.complaint(), token=story.token, at=pair.then.started_at))
            else:
                causes[cause] += 1
    promise = "a job runs again only after a failure, or because its process died, was condemned or told to stop"
    return Check(name="duplicates", promise=promise, judged=judged, findings=tuple(findings)), causes


def pairs(facts: Facts, story: Story) -> list[Pair]:
    """Return the pairs of runs that follow each other.

    A run that begins late, in a process that was held up between its claim and its first line, follows the run that
    took its place, and nothing follows from it.
    """
    found = []
    first = story.runs[0] if story.runs else None
    for then in story.runs[1:]:
        assert first is not None
        pair = Pair(facts, story, first, then)
        found.append(pair)
        if pair.began_late() is None:
            first = then
    return found


@attrs.frozen
class Pair:
    """Two runs of one job, one started after the other."""

    facts: Facts
    story: Story
    first: Run
    then: Run

    def cause(self) -> str | None:
        """Return the name of what explains the second run; None if nothing does."""
        if (late := self.began_late()) is not None:
            return late.name
        if not self.overlaps:
            if self._failure():
                return "failure"
            if self.first.outcome == "interrupted" and self._stopped():
                return "stop"
        facts, first, start = self.facts, self.first, self.then.started_at
        if (loss := claim_lost(facts, first, start) or settle_lost(facts, first, start)) is not None:
            return loss.name
        if self.then.attempt != first.attempt and not self._unknown_between():
            return None
        if (hold := held(facts, first, start)) is not None:
            return hold.name
        if self.overlaps or first.outcome == "interrupted":
            return None
        death = death_of(facts, first, start)
        return None if death is None else death.name

    @property
    def overlaps(self) -> bool:
        """Whether the first still ran, by its own word, when the second began."""
        return self.first.ended_at is not None and self.first.ended_at > self.then.started_at

    def _failure(self) -> bool:
        retried = self.first.outcome == "failed" and self.then.attempt == self.first.attempt + 1
        return retried and self.story.kind not in FORGOTTEN

    def _unknown_between(self) -> bool:
        # A process that does not know the name fails without a run. It comes after whatever brought the job back.
        return self.story.kind in STRANGERS and self.then.attempt > self.first.attempt

    def _stopped(self) -> bool:
        ended_at = self.first.ended_at
        told = self.facts.strikes.told(self.facts.fleet.process(self.first))
        return ended_at is not None and told <= ended_at + GRAIN and self.then.attempt == self.first.attempt

    def began_late(self) -> Hold | None:
        """Return what held the second run's process up before its first line, while the first run took its place."""
        process = self.facts.fleet.process(self.then)
        for hold in self.facts.strikes.holds(process, self.then.started_at, self.then.started_at):
            if hold.at <= self.first.started_at and self.first.identity != self.then.identity:
                return hold
        return None

    def complaint(self) -> str:
        """Say what is wrong, for a pair without a cause."""
        first, then = self.first, self.then
        gap = then.started_at - (first.ended_at if first.ended_at is not None else first.started_at)
        where = f"pid {first.pid}, then pid {then.pid}"
        if self.overlaps:
            return f"a healthy job runs twice at once: job {self.story.token} began again while it ran ({where})"
        if first.outcome == "interrupted":
            return f"job {self.story.token} was interrupted though nobody had told its process to stop ({where})"
        if then.attempt not in (first.attempt, first.attempt + 1) or (
            then.attempt != first.attempt and first.outcome != "failed"
        ):
            return f"job {self.story.token} went from attempt {first.attempt} to {then.attempt} without that failure"
        if first.outcome is None:
            deaths = self.facts.strikes.deaths(self.facts.fleet.process(first))
            later = min((death.earliest for death in deaths), default=math.inf)
            died = (
                "its process lived" if later == math.inf else f"its process died {later - then.started_at:.2f} s later"
            )
            return f"job {self.story.token} began again while it ran: {died} ({where})"
        return f"job {self.story.token} was {first.outcome} and ran again {gap:.2f} s later, without a cause ({where})"
