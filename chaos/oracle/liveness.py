"""When the faults are over, everything drains, and then it is quiet."""

from __future__ import annotations

from chaos.oracle.facts import Facts, Story
from chaos.records import Final
from chaos.verdict import Check, Finding

SLACK = 10.0
"""Commands per second that are no leak."""

WALK_EVERY = 5.0
"""Seconds, times living processes, between two looks of a reaper after one that is dead (docs/internals.md)."""

BELONGS = {"done": {"dead"}, "buried": {"dead"}, "any": {"dead", "retry"}}
"""Where a job may lie at the end, by what was expected of it. Whether an innocent one is rightly dead: see crashes."""


def check(facts: Facts) -> Check:
    """Judge the end of the run."""
    promise = "when the faults are over everything drains in time, and then traffic is what it was before"
    final = facts.final
    if final is None:
        return Check(name="liveness", promise=promise, judged=0, skipped="the run did not reach its end")
    if final.idle is None:
        promise += "; that traffic could not be seen there and is not judged"
    findings = [*_drained(final), *_idle(final, facts.settings.processes)]
    for story in facts.stories.values():
        findings += _left(story)
    return Check(name="liveness", promise=promise, judged=len(facts.stories), findings=tuple(findings))


def _drained(final: Final) -> list[Finding]:
    findings = []
    took = None if final.drained_at is None else final.drained_at - final.faults_ended_at
    if took is None:
        findings.append(Finding(what=f"not everything was done {final.drain_within:g} s after the last fault"))
    elif took > final.drain_within:
        what = f"it took {took:.1f} s after the last fault until all was done; the bound is {final.drain_within:g} s"
        findings.append(Finding(what=what, at=final.drained_at))
    left = {kind: count for kind, count in final.left.items() if count}
    if left:
        said = ", ".join(f"{count} in {kind}" for kind, count in sorted(left.items()))
        findings.append(Finding(what=f"jobs were left at the end: {said}"))
    return findings


def _idle(final: Final, processes: int) -> list[Finding]:
    """The dead of the run are looked after for a quarter of an hour: that is traffic, and no leak."""
    if final.idle is None:
        return []
    before, after = final.idle
    most = 1.5 * (before + final.walk / (WALK_EVERY * processes)) + SLACK
    if after <= most:
        return []
    return [
        Finding(what=f"an idle pod sends {after:.1f} commands/s at the end; it was {before:.1f}, {most:.1f} is fine")
    ]


def _left(story: Story) -> list[Finding]:
    if story.sent is None or story.sent.answer == "refused":
        return []  # found as one that must not exist
    wrong = [home for home in story.homes if home not in BELONGS[story.sent.expected]]
    if not wrong:
        return []
    what = f"job {story.token} ({story.kind}) lies in {wrong[0]} at the end; expected: {story.sent.expected}"
    return [Finding(what=what, token=story.token)]
