"""A job that kills its process is stopped by the crash budget; its neighbours are not buried for it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import attrs

from chaos.oracle.causes import death_of, held
from chaos.oracle.facts import Facts, Story
from chaos.oracle.strikes import GRAIN, SETTLE_WITHIN, Death
from chaos.records import Run
from chaos.verdict import Check, Finding

UNSEEN = 0.2
"""Seconds from the start of other jobs to the death of their process in which one more may have begun."""


@attrs.frozen
class Budget:
    """The check, and how many innocent jobs were buried because their processes really died so often."""

    check: Check
    unlucky: int


def check(facts: Facts) -> Budget:
    """Judge every killer by its runs, every other job by whether it was buried."""
    findings: list[Finding] = []
    judged = unlucky = 0
    for story in facts.stories.values():
        if story.killer:
            judged += bool(story.runs)
            findings += _spared(facts, story)
        elif story.sent is not None and story.sent.expected == "done":
            if len(story.runs) < 2 and not story.dead:
                continue
            crashes = sum(may_be_counted(facts, story, run) for run in story.runs)
            judged += bool(crashes or story.dead)
            if story.dead and crashes < facts.settings.crash_limit:
                crashes += may_be_unseen(facts, story)
            if story.dead and crashes >= facts.settings.crash_limit:
                unlucky += 1
            elif story.dead:
                what = f"job {story.token} ({story.kind}) was buried after {crashes} crashes of processes that ran it"
                findings.append(Finding(what=what, token=story.token))
    limit = facts.settings.crash_limit
    promise = f"a job that kills its process runs at most {limit + 1} times, and no other job is buried for it"
    return Budget(Check(name="crashes", promise=promise, judged=judged, findings=tuple(findings)), unlucky)


def _spared(facts: Facts, story: Story) -> list[Finding]:
    uncounted = sum(may_be_uncounted(facts, story, run) for run in story.runs)
    allowed = facts.settings.crash_limit + 1 + uncounted
    if len(story.runs) <= allowed:
        return []
    what = f"job {story.token} ({story.kind}) ran {len(story.runs)} times; the crash budget allows {allowed}"
    return [Finding(what=what, token=story.token, at=story.runs[-1].started_at)]


def may_be_counted(facts: Facts, story: Story, run: Run) -> bool:
    """Whether reliq may count a crash against this run: its process died or was condemned, and not in a stop."""
    then = _next_start(story, run)
    hold = held(facts, run, then)
    if hold is not None and _unsettled(facts, run, hold.at):
        return True
    death = death_of(facts, run, then)
    if death is None:
        return False
    process = facts.fleet.process(run)
    life = facts.fleet.life(process)
    stopping = min(life.stopping if life else math.inf, facts.strikes.orphaned(process))
    return facts.strikes.unhindered(process, stopping, death.earliest) <= SETTLE_WITHIN


def may_be_unseen(facts: Facts, story: Story) -> bool:
    """Whether one run of it may have begun in a process that died, and have never come to say so.

    reliq notes a start before the job's first line runs. If another thread has the interpreter then, and kills the
    process, there is no other trace of it. So it must be a process that was just beginning other jobs.
    """
    own = {run.identity for run in story.runs}
    gaps = list(_gaps(facts, story))
    for run in facts.runs:
        for death in facts.strikes.deaths(facts.fleet.process(run)):
            beginning = death.earliest - UNSEEN <= run.started_at <= death.latest
            within = any(begin <= death.latest and death.earliest <= end for begin, end in gaps)
            if beginning and within and run.identity not in own:
                return True
    return False


def _gaps(facts: Facts, story: Story) -> Iterator[tuple[float, float]]:
    """When a job that had run waited for its next run: from a death to the next start, or until it was surely seen."""
    for run in story.runs:
        then = _next_start(story, run)
        death = death_of(facts, run, then)
        if death is not None:
            yield death.earliest, min(then, death.latest + facts.settings.ttl + facts.settings.confirm)


def _unsettled(facts: Facts, run: Run, at: float) -> bool:
    """Whether the run may not have been settled yet at this moment."""
    if run.ended_at is None or at <= run.ended_at:
        return True
    return facts.strikes.unhindered(facts.fleet.process(run), run.ended_at, at) <= SETTLE_WITHIN


def may_be_uncounted(facts: Facts, story: Story, run: Run) -> bool:
    """Whether this run of a killer may cost nothing: it ended otherwise, or in a stop, or had begun unseen."""
    if run.outcome is not None:
        return True
    then = _next_start(story, run)
    death = death_of(facts, run, then)
    died = then if death is None else min(then, death.latest)
    if _stopping(facts, run, death) < died:
        return True
    if then == math.inf:
        # After its last run nothing tells when it was brought back, only when that must have been.
        then = died + facts.settings.ttl + facts.settings.confirm
    if held(facts, run, then) is not None:
        return True
    if any(loss.may_undo(run.started_at, then) for loss in facts.strikes.undone):
        return True
    # If the supervisor died before it had brought the job back, the last word about what ran is up to a beat old.
    process = facts.fleet.process(run)
    begun = facts.strikes.unhindered(process, run.started_at, died if death is None else death.earliest)
    return run.started_at <= facts.strikes.orphaned(process) < then and begun <= facts.settings.beat + GRAIN


def _stopping(facts: Facts, run: Run, death: Death | None) -> float:
    """Return when the run's process was told to stop; what ended it together with its supervisor did not tell it."""
    process = facts.fleet.process(run)
    life, orphaned = facts.fleet.life(process), facts.strikes.orphaned(process)
    if death is not None and death.whole and orphaned >= death.earliest:
        orphaned = math.inf
    return min(life.told if life else math.inf, orphaned)


def _next_start(story: Story, run: Run) -> float:
    following = story.follower(run)
    return math.inf if following is None else following.started_at
