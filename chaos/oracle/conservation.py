"""At every instant a job is in exactly one place."""

from __future__ import annotations

from chaos.oracle.facts import FORGOTTEN, Facts, Story
from chaos.records import Audit
from chaos.verdict import Check, Finding


def check(facts: Facts) -> Check:
    """Judge every census, and what lay where at the end."""
    findings: list[Finding] = []
    for audit in facts.audits:
        findings += _doubled(audit.doubled, audit.ended_at)
        findings += [
            Finding(
                what=f"job {token} had been acknowledged, was in no place, and was not done",
                token=token,
                at=audit.ended_at,
            )
            for token in audit.missing
            if not _accounted_for(facts, audit, facts.stories.get(token))
        ]
    if facts.final is not None:
        several = {token: homes for token, homes in facts.final.homes.items() if len(homes) > 1}
        findings += _doubled(several, facts.final.drained_at)
    promise = "at every instant a job is in exactly one place, until it is done"
    return Check(name="conservation", promise=promise, judged=len(facts.audits), findings=tuple(findings))


def _doubled(doubled: dict[int, list[str]], at: float | None) -> list[Finding]:
    return [
        Finding(what=f"job {token} was in {len(homes)} places at once: {', '.join(homes)}", token=token, at=at)
        for token, homes in doubled.items()
    ]


def _accounted_for(facts: Facts, audit: Audit, story: Story | None) -> bool:
    """Whether a job that had no home had ended before the census did, or was lost by Redis before it began."""
    if story is None:
        return False
    ends = {"done", "failed"} if story.kind in FORGOTTEN else {"done"}
    if any(run.outcome in ends and _by(run.ended_at, audit.ended_at) for run in story.runs):
        return True
    return facts.lost_by_redis(story, before=audit.ended_at)


def _by(moment: float | None, limit: float) -> bool:
    return moment is not None and moment <= limit
