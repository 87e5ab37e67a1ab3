"""What reliq counts is what happened."""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs

from chaos.oracle.facts import FORGOTTEN, STRANGERS, Facts, Story
from chaos.records import Final
from chaos.verdict import Check, Finding

STRANGER_FAILURES = 11
"""Failures until an unknown name is buried: 10 retries, over four hours (docs/guarantees.md, 10)."""


@attrs.frozen
class Settles:
    """How often one job was settled as ended, and as failed: the least and the most that the ledger allows."""

    processed: tuple[int, int] = (0, 0)
    failed: tuple[int, int] = (0, 0)


def check(facts: Facts) -> Check:
    """Compare the counters and `reliq status` with the sum over all jobs."""
    promise = "the counters and `reliq status` say what the ledger says"
    final = facts.final
    if final is None:
        return Check(name="counters", promise=promise, judged=0, skipped="the run did not reach its end")
    if facts.undone:
        return Check(name="counters", promise=promise, judged=0, skipped="Redis lost writes it had acknowledged")
    settles = [settles_of(story) for story in facts.stories.values()]
    vague = sum(one.processed[0] != one.processed[1] or one.failed[0] != one.failed[1] for one in settles)
    if vague:
        promise += f"; of {vague} jobs only a range can be known (they failed without a run, or were left)"
    findings = [
        *_compare("processed", final.processed, [one.processed for one in settles]),
        *_compare("failed", final.failed, [one.failed for one in settles]),
        *_status(facts, final),
    ]
    return Check(name="counters", promise=promise, judged=len(settles), findings=tuple(findings))


def settles_of(story: Story) -> Settles:
    """Return how often a job's attempts were settled.

    An attempt's number rises by one with each failure that was settled, and by nothing else; so the highest number
    tells how many there were before, whatever became of other runs of the same attempt.
    """
    top = max((run.attempt for run in story.runs), default=0)
    before = max(0, top - 1)
    outcomes = {run.outcome for run in story.runs if run.attempt == top}
    if story.homes:
        return _there(story, before, last_failed="failed" in outcomes)
    if "done" not in outcomes and not story.forgotten:
        # Nothing of it, or it is lost: then what its last attempt counted is unknown.
        return Settles((before, top), (before, top))
    if story.kind in FORGOTTEN:
        failed = (int("done" not in outcomes), int("failed" in outcomes))
        return Settles((1, 1), failed)
    return Settles((top, top), (before, before))


def _there(story: Story, before: int, *, last_failed: bool) -> Settles:
    """Of a job that still has a home: all that was settled were failures."""
    place = story.homes[0]
    least, most = before, before + last_failed
    if place == "retry":
        least = most
    if story.kind in STRANGERS and place in ("retry", "dead"):
        least, most = max(least, 1), STRANGER_FAILURES - (place == "retry")
    return Settles((least, most), (least, most))


def _compare(name: str, said: int, ranges: list[tuple[int, int]]) -> list[Finding]:
    least, most = sum(low for low, _ in ranges), sum(high for _, high in ranges)
    if least <= said <= most:
        return []
    wanted = f"{least}" if least == most else f"{least} to {most}"
    return [Finding(what=f"{name} is {said}; by the ledger it is {wanted}")]


def _status(facts: Facts, final: Final) -> list[Finding]:
    if "queues" not in final.status:
        return [Finding(what=f"`reliq status --json` said {final.status or 'nothing'}")]
    homes = Counter(home.split(":", 1)[0] for story in facts.stories.values() for home in story.homes)
    queues: list[dict[str, Any]] = final.status["queues"]
    wanted = {
        "processed": final.processed,
        "failed": final.failed,
        "scheduled": homes["schedule"],
        "retries": homes["retry"],
        "dead": homes["dead"],
    }
    said = {name: final.status.get(name) for name in wanted}
    wanted |= {"enqueued": homes["queue"], "quarantined": homes["quarantine"]}
    said |= {
        "enqueued": sum(queue["size"] for queue in queues),
        "quarantined": sum(queue["quarantined"] for queue in queues),
    }
    return [
        Finding(what=f"`reliq status` says {said[name]} {name}; it is {count}")
        for name, count in wanted.items()
        if said[name] != count
    ]
