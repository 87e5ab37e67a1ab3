"""The jobs: who takes them, and where they collect."""

from __future__ import annotations

from collections.abc import Iterator

from reliq.doctor.finding import FULL, Finding, Kind, Level, some, well
from reliq.doctor.fleet import foreigners
from reliq.doctor.subject import Subject

PROMOTED_WITHIN = 10.0
"""Seconds after its time in which a job is certainly on its queue: a new leader is there after 4."""

UNCONSUMED = Kind(
    "unconsumed-queues",
    Level.WARNING,
    "jobs wait, and nobody takes them: {names}",
    "No living worker has such a queue among its own. The jobs wait for ever.",
    "Start a worker with -q NAME, or look for a misspelt queue where the jobs are enqueued.",
)
UNWATCHED = Kind(
    "unwatched-queues",
    Level.NOTE,
    "nobody takes from these queues, which are empty: {names}",
    "A job that is enqueued there would wait for ever.",
    "If such a queue is gone for good: SREM queues NAME.",
)
PAUSED = Kind(
    "paused-queues",
    Level.NOTE,
    "paused: {names}",
    "Nothing is claimed from a paused queue, and nothing ends the pause by itself.",
    "reliq queues resume NAME, when the reason has gone.",
)


def queues(subject: Subject) -> Iterator[Finding]:
    """Whether every queue has somebody who takes from it."""
    views = subject.inspector.queues()
    taken = {name for entry in subject.living if not entry.quarantine and not entry.stopping for name in entry.queues}
    taken = taken.union(*foreigners(subject).values())
    waiting = [f"{view.name} ({view.size:,} jobs)" for view in views if view.name not in taken and view.size]
    unwatched = [view.name for view in views if view.name not in taken and not view.size]
    paused = [f"{view.name} ({view.size:,} jobs)" for view in views if view.paused]
    if waiting:
        yield UNCONSUMED.found(names=some(waiting))
    if unwatched and subject.living:
        yield UNWATCHED.found(names=some(unwatched))
    if paused:
        yield PAUSED.found(names=some(paused))
    if not waiting + unwatched + paused:
        yield well(f"{len(views)} queues, somebody takes from each" if views else "no queue yet")


QUARANTINED = Kind(
    "quarantine",
    Level.WARNING,
    "jobs in quarantine: {names}",
    "Each was running in two processes when these died. It runs alone now, and the next crash buries it.",
    "Find out what these jobs do: the worker's log says how the processes died. If the jobs stay there, no worker of "
    "their queue is alive.",
)


def quarantine(subject: Subject) -> Iterator[Finding]:
    """Whether jobs wait that may kill the process that runs them."""
    names = [f"{view.name} ({view.quarantined})" for view in subject.inspector.queues() if view.quarantined]
    yield QUARANTINED.found(names=some(names)) if names else well("no job is in quarantine")


NOT_PROMOTED = Kind(
    "not-promoted",
    Level.PROBLEM,
    "{jobs} jobs are due and lie in {places}, the oldest since {seconds:,.0f} s",
    "They run when a supervisor has moved them to their queue. None does, or its clock is behind.",
    "Start a worker. If one runs, look at its log, and at the clocks (above).",
)


def schedule(subject: Subject) -> Iterator[Finding]:
    """Whether jobs whose time has come are on their queues."""
    now = subject.server_time()
    places: list[str] = []
    jobs, oldest = 0, now
    for name, key in (("schedule", subject.keys.schedule), ("retry", subject.keys.retry)):
        count, first = subject.link.call_all(
            [
                ("ZCOUNT", key, "-inf", now - PROMOTED_WITHIN),
                ("ZRANGE", key, 0, 0, "WITHSCORES"),
            ]
        )
        if count:
            jobs, places = jobs + count, [*places, f"`{name}`"]
            oldest = min(oldest, float(first[1]))
    if jobs:
        yield NOT_PROMOTED.found(jobs=f"{jobs:,}", places=" and ".join(places), seconds=now - oldest)
    else:
        yield well("what was due is on its queue")


DEAD_NEARLY_FULL = Kind(
    "dead-nearly-full",
    Level.WARNING,
    "{count:,} dead jobs, the limit is {limit:,}",
    "At the limit the oldest are dropped for good.",
    "Look why they died: each has its error_class and error_message. Raise dead_limit to keep more.",
)
DEAD_DROPPED = Kind(
    "dead-dropped",
    Level.NOTE,
    "{count:,} dead jobs were dropped so far",
    "They fell to dead_limit or dead_for, and nobody can look at them any more.",
    "Raise these limits, if you want to keep more.",
)


def dead_set(subject: Subject) -> Iterator[Finding]:
    """How near the dead set is to its limit."""
    count, dropped = subject.link.call_all([("ZCARD", subject.keys.dead), ("GET", subject.keys.stat("trimmed"))])
    limit = subject.config.dead_limit
    if count > FULL * limit:
        yield DEAD_NEARLY_FULL.found(count=count, limit=limit)
    if int(dropped or 0):
        yield DEAD_DROPPED.found(count=int(dropped))
    if count <= FULL * limit and not int(dropped or 0):
        yield well(f"{count:,} dead jobs, the limit is {limit:,}")
