"""How long the jobs of the dead wait for their next run, against the bounds that docs/guarantees.md publishes."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import attrs

from chaos.oracle.causes import death_of
from chaos.oracle.crashes import may_be_counted
from chaos.oracle.facts import Facts, Story
from chaos.oracle.fleet import Life
from chaos.oracle.load import Load
from chaos.oracle.spans import Spans
from chaos.oracle.strikes import GRAIN, Death, hinders, in_force
from chaos.records import FaultRecord, Run, Settings
from chaos.verdict import Check, Finding, Recovery

CHILD = 1.0
"""Seconds in which a supervisor brings back what its dead child held; it says milliseconds."""

LOOK = 1.0
"""Seconds between two looks of a reaper, and what it does then."""

BUSY = 1.5
"""How many times the bound it may take where programs had to wait for a processor."""

KINDS = ("child", "pod", "ttl", "quarantine", "held")


def bound(settings: Settings, kind: str) -> float | None:
    """Return the longest that a job may wait for its next run, in seconds; None where nothing is promised."""
    if kind == "child":
        return CHILD
    if kind == "pod":
        return 3 * settings.beat + LOOK
    if kind == "ttl":
        return settings.ttl + settings.confirm + LOOK + 2 * settings.beat
    return None


@attrs.frozen(kw_only=True)
class Sample:
    """One run that a fault cut off, and the next run of its job."""

    kind: str
    story: Story
    begin: float
    then: Run
    pod: str | None
    seconds: float
    number: int | None = None
    """Of the fault that struck it."""


def check(facts: Facts) -> tuple[Check, tuple[Recovery, ...]]:
    """Measure every recovery; judge those that nothing else disturbed."""
    samples = [sample for story in facts.stories.values() for sample in _samples(facts, story)]
    calm, load = Calm(facts), Load(facts)
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    bounded: defaultdict[str, list[float]] = defaultdict(list)
    findings = []
    for sample in samples:
        seconds[sample.kind].append(sample.seconds)
        limit = bound(facts.settings, sample.kind)
        if limit is not None and facts.busy.touch(sample.begin, sample.then.started_at):
            limit *= BUSY
        if limit is None or sample.story.killer or not calm.undisturbed(sample):
            continue
        if sample.seconds > limit and not _had_room(load, sample, limit):
            continue
        bounded[sample.kind].append(sample.seconds)
        if sample.seconds > limit:
            what = (
                f"job {sample.story.token} waited {sample.seconds:.2f} s for its next run; the bound is {limit:.2f} s"
            )
            findings.append(Finding(what=f"{what} ({sample.kind})", token=sample.story.token, at=sample.begin))
    recoveries = tuple(
        Recovery(
            kind=kind, seconds=tuple(seconds[kind]), bounded=tuple(bounded[kind]), bound=bound(facts.settings, kind)
        )
        for kind in KINDS
        if seconds[kind]
    )
    promise = "the jobs of a dead process run again within the published time"
    judged = sum(len(times) for times in bounded.values())
    return Check(name="recovery", promise=promise, judged=judged, findings=tuple(findings)), recoveries


def _samples(facts: Facts, story: Story) -> list[Sample]:
    found = []
    crashed = False
    for run, then in pairwise(story.runs):
        death = _cut_off(facts, run, then)
        if death is not None:
            found += _after_death(facts, story, death, then, facts.fleet.process(run).pod, crashed=crashed)
        elif run.identity != then.identity:
            found += _after_hold(facts, story, run, then)
        crashed = crashed or may_be_counted(facts, story, run)
    return found


def _cut_off(facts: Facts, run: Run, then: Run) -> Death | None:
    """Return the death that the run was open at: one that ended by its own word was not cut off."""
    if run.ended_at is not None:
        return None
    return death_of(facts, run, then.started_at)


def _after_death(
    facts: Facts, story: Story, death: Death, then: Run, pod: str | None, *, crashed: bool
) -> list[Sample]:
    if death.known is None:
        return []
    kind = "quarantine" if crashed else _kind(facts, death, death.known, pod)
    seconds = max(0.0, then.started_at - death.known)
    return [Sample(kind=kind, story=story, begin=death.known, then=then, pod=pod, seconds=seconds, number=death.number)]


def _after_hold(facts: Facts, story: Story, run: Run, then: Run) -> list[Sample]:
    process = facts.fleet.process(run)
    for hold in facts.strikes.holds(process, run.started_at, then.started_at):
        if hold.at >= run.started_at and (run.ended_at is None or run.ended_at >= hold.at):
            seconds = then.started_at - hold.at
            return [Sample(kind="held", story=story, begin=hold.at, then=then, pod=process.pod, seconds=seconds)]
    return []


def _kind(facts: Facts, death: Death, known: float, pod: str | None) -> str:
    if not death.whole and pod is not None and facts.strikes.main_death(pod) > known:
        return "child"
    return "pod" if facts.settings.client_list else "ttl"


def _had_room(load: Load, sample: Sample, limit: float) -> bool:
    """Whether a late job could have begun earlier: a thread was free for it, or another job went first."""
    assert sample.story.sent is not None
    due, began = sample.begin + limit, sample.then.started_at
    if load.overtaken(sample.story.sent.queue, due, began):
        return True
    without = 1 if sample.kind == "child" else 0
    return any(load.idle(at, without) for at in (due, max(due, began - LOOK)))


class Calm:
    """Whether anything else went on while a job waited."""

    def __init__(self, facts: Facts) -> None:
        settings = facts.settings
        # What an outage leaves behind takes this long to mend: reapers begin their watch anew.
        rest = max(settings.ttl, settings.confirm)
        lasting = [in_force(fault) for fault in facts.faults if fault.harm != "dead" and _disturbs(fault)]
        self._lasting = Spans((begin, end + rest) for begin, end in lasting)
        self._deaths = [(fault.number, *in_force(fault)) for fault in facts.faults if fault.harm == "dead"]
        self._watchers = [_watcher(facts, life) for life in facts.fleet.lives.values()]
        self._holders = Spans(
            (run.started_at, run.ended_at if run.ended_at is not None else facts.fleet.process(run).until)
            for story in facts.stories.values()
            if story.kind == "gil"
            for run in story.runs
        )

    def undisturbed(self, sample: Sample) -> bool:
        """Whether the fault was the only one, some other pod could look all the time, and no process was busy in C."""
        begin, end = sample.begin, sample.then.started_at
        if self._lasting.touch(begin, end) or self._holders.touch(begin, end):
            return False
        if any(number != sample.number and struck <= end and begin <= known for number, struck, known in self._deaths):
            return False
        return any(since <= begin and end < gone and name != sample.pod for name, since, gone in self._watchers)


def _watcher(facts: Facts, life: Life) -> tuple[str, float, float]:
    """Return from when to when a pod could tell a death: it must have had answers since before the last beat."""
    gone = min(life.told, life.leaves, facts.strikes.main_death(life.name))
    return life.name, life.ready + 2 * facts.settings.beat + GRAIN, gone


def _disturbs(fault: FaultRecord) -> bool:
    return fault.harm != "none" or fault.outage or hinders(fault)
