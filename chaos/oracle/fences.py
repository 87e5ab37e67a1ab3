"""Fence numbers rise, and nothing from an older run is accepted after a newer one."""

from __future__ import annotations

from itertools import pairwise

from chaos.oracle.causes import claim_lost
from chaos.oracle.facts import Facts, Story
from chaos.records import Run
from chaos.verdict import Check, Finding


def check(facts: Facts) -> Check:
    """Judge all numbers that were drawn, and all effects that were accepted."""
    findings: list[Finding] = []
    owners: dict[int, Run] = {}
    judged = 0
    for story in facts.stories.values():
        drawn = [run for run in story.runs if run.fence is not None]
        judged += len(drawn)
        for run in drawn:
            assert run.fence is not None
            other = owners.setdefault(run.fence, run)
            if other is not run:
                what = f"two runs drew the fence number {run.fence}: of job {other.token} and of job {run.token}"
                findings.append(Finding(what=what, token=run.token, at=run.fence_at))
        findings += _falling(facts, story, drawn)
    findings += _older_effects(facts)
    promise = "a run that was taken for dead draws no number, and writes nothing, after its successor"
    return Check(name="fences", promise=promise, judged=judged, findings=tuple(findings))


def _falling(facts: Facts, story: Story, drawn: list[Run]) -> list[Finding]:
    findings = []
    for first, then in pairwise(drawn):
        assert first.fence is not None
        assert then.fence is not None
        if first.fence <= then.fence:
            continue  # equal ones are found as shared
        if _drew_after(first, then) and _claim_lost(facts, first, then):
            continue
        what = (
            f"job {story.token}: the run that began first drew {first.fence}, "
            f"the next one {then.fence} ({first.fence - then.fence} less)"
        )
        findings.append(Finding(what=what, token=story.token, at=then.fence_at))
    return findings


def _drew_after(first: Run, then: Run) -> bool:
    """Whether the first run drew its number when the second had begun."""
    return first.fence_at is not None and first.fence_at >= then.started_at


def _claim_lost(facts: Facts, first: Run, then: Run) -> bool:
    """Whether Redis lost the first run's claim: both runs are then as good, and may draw in either order."""
    return claim_lost(facts, first, then.started_at) is not None


def _older_effects(facts: Facts) -> list[Finding]:
    findings = []
    seen: dict[int, int] = {}
    for effect in facts.effects:
        if not effect.accepted or effect.fence is None:
            continue
        newest = seen.get(effect.token, effect.fence)
        if effect.fence < newest:
            what = f"job {effect.token}: an effect with fence {effect.fence} was accepted after one with {newest}"
            findings.append(Finding(what=what, token=effect.token, at=effect.at))
        seen[effect.token] = max(newest, effect.fence)
    return findings
