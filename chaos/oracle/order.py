"""Jobs that were handed back return to the end they were taken from: new ones do not overtake them."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict

from chaos.oracle.facts import Facts, Story
from chaos.oracle.strikes import GRAIN
from chaos.records import Run
from chaos.verdict import Check, Finding

RELEASED_WITHIN = 2.0
"""Seconds from the interruption of a job to its release: all others of its process unwind first, then one turn."""


def check(facts: Facts) -> Check:
    """Judge every job that was interrupted by a stop and ran again.

    What may start before it, once it is back: as many as there are slots, which may have been claimed already.
    """
    settings = facts.settings
    slots = settings.pods * settings.processes * settings.concurrency
    promise = f"a job that was handed back runs before newer ones of its queue; {slots} may have been claimed already"
    firsts = _first_starts(facts)
    findings: list[Finding] = []
    judged = 0
    for story in facts.stories.values():
        for run, following in zip(story.runs, story.runs[1:], strict=False):
            if run.outcome != "interrupted" or run.ended_at is None or story.sent is None:
                continue
            back = run.ended_at + RELEASED_WITHIN
            if facts.strikes.unhindered(facts.fleet.process(run), run.ended_at, back) < RELEASED_WITHIN - GRAIN:
                continue  # it could not hand anything back
            judged += 1
            behind = _queued(story, run)
            starts = firsts[story.sent.queue]
            between = starts[bisect_right(starts, (back, 0.0)) : bisect_right(starts, (following.started_at, 0.0))]
            ahead = sum(sent_at > behind for _, sent_at in between)
            if ahead > slots:
                what = f"{ahead} newer jobs of its queue started before job {story.token}, which had been handed back"
                findings.append(Finding(what=what, token=story.token, at=following.started_at))
    return Check(name="order", promise=promise, judged=judged, findings=tuple(findings))


def _queued(story: Story, run: Run) -> float:
    """Return the moment from which on whatever is sent comes after this run's job in its queue."""
    sent = story.sent
    if sent is None or sent.via == "enqueue_in" or run is not story.runs[0] or sent.known_at is None:
        return run.started_at  # when it came to its queue is not known
    return min(sent.known_at, run.started_at)


def _first_starts(facts: Facts) -> dict[str, list[tuple[float, float]]]:
    """By queue: when each job first started, and when it was sent; in order of the starts. Scheduled ones come late."""
    found: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for story in facts.stories.values():
        if story.sent is not None and story.runs and story.sent.via != "enqueue_in":
            found[story.sent.queue].append((story.runs[0].started_at, story.sent.sent_at))
    return defaultdict(list, {queue: sorted(starts) for queue, starts in found.items()})
