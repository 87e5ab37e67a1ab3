"""No acknowledged job is lost, and no job comes from nowhere."""

from __future__ import annotations

import attrs

from chaos.oracle.facts import Facts, Story
from chaos.verdict import Check, Finding


@attrs.frozen
class Losses:
    """The check, and how many jobs are gone because Redis lost their enqueueing."""

    check: Check
    by_redis: int


def check(facts: Facts) -> Losses:
    """Judge every job by its end."""
    findings: list[Finding] = []
    by_redis = 0
    for story in facts.stories.values():
        what = _complaint(facts, story)
        if what is None:
            continue
        if _gone(story) and facts.lost_by_redis(story):
            by_redis += 1
        else:
            findings.append(Finding(what=what, token=story.token, at=story.sent.known_at if story.sent else None))
    promise = "every acknowledged job comes to its end; none that was refused, or never sent, runs"
    judged = sum(story.exists for story in facts.stories.values())
    return Losses(Check(name="lost", promise=promise, judged=judged, findings=tuple(findings)), by_redis)


def _complaint(facts: Facts, story: Story) -> str | None:
    """Return what is wrong with a job's end; None if nothing is, or if it is another check's matter."""
    job = f"job {story.token}"
    if story.sent is None:
        where = f"lies in {story.homes[0]}" if story.homes else "ran"
        return f"{job} {where}, but nobody has sent it"
    if story.sent.answer == "refused":
        if story.runs or story.homes:
            return f"{job} was refused, and {'ran' if story.runs else f'lies in {story.homes[0]}'}"
        return None
    if facts.final is None or not story.exists:
        return None
    learned = "was acknowledged" if story.acked else "was there"
    if story.homes:
        # Where it may lie is judged by liveness, and by crashes for the dead set.
        return None
    if story.sent.expected == "buried":
        end = "was done" if story.done else "is gone"
        return f"{job} ({story.kind}) {learned}, should have been buried, and {end}"
    if story.done or story.forgotten:
        return None
    ran = f"ran {len(story.runs)} times" if story.runs else "never ran"
    return f"{job} ({story.kind}) {learned}, {ran}, was never done, and has no home any more"


def _gone(story: Story) -> bool:
    refused = story.sent is not None and story.sent.answer == "refused"
    return story.sent is not None and not refused and not story.homes
