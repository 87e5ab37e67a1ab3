"""The pod: whether a stop has the time it takes."""

from __future__ import annotations

from collections.abc import Iterator

from reliq.doctor.finding import Finding, Kind, Level, well
from reliq.doctor.subject import Shutdown, Subject
from reliq.server.supervisor import LATE

SPARE = 5.0
"""Seconds that a slow node wants beyond the sum."""

NOT_TOLD = Kind(
    "shutdown-not-told",
    Level.NOTE,
    "nobody said how the worker's pod is stopped",
    "With too little time for a stop, jobs are killed instead of handed back.",
    "Give --manifest FILE, or --grace-period with --prestop-wait and --timeout.",
)
TOO_SHORT = Kind(
    "grace-period-too-short",
    Level.PROBLEM,
    "{name}: a stop takes up to {needed}, and the grace period is {given:g} s",
    "What is left is killed. Jobs that could have been handed back are found later by another pod, and run again.",
    "Raise terminationGracePeriodSeconds (systemd: TimeoutStopSec) above the sum, or lower the worker's timeout.",
)
TIGHT = Kind(
    "grace-period-tight",
    Level.WARNING,
    "{name}: a stop takes up to {needed}, and the grace period is {given:g} s",
    "The hook's own start, a slow node and the way to Redis take time as well.",
    "Leave 5 s beyond the sum.",
)
SHELL = Kind(
    "shell-in-between",
    Level.WARNING,
    "{name}: a shell starts the worker",
    "If the shell stays, it gets SIGTERM and does not hand it on: the worker is never told to stop, and is killed when "
    "the time is over. Some shells stay, some do not.",
    "Start `reliq` as the container's command itself, or write `exec reliq worker ...`.",
)


def shutdown(subject: Subject) -> Iterator[Finding]:
    """Whether preStop wait, timeout and grace fit into the grace period of each pod that was told."""
    if not subject.shutdowns:
        yield NOT_TOLD.found()
    for one in subject.shutdowns:
        if one.by_shell:
            yield SHELL.found(name=one.name)
        yield _time(one)


def _time(one: Shutdown) -> Finding:
    total = one.prestop_wait + one.timeout + one.grace + LATE
    hook = f"preStop {one.prestop_wait:g} s + " if one.prestop_wait else ""
    needed = f"{total:g} s ({hook}timeout {one.timeout:g} s + grace {one.grace:g} s + {LATE:g} s)"
    if one.grace_period <= total:
        return TOO_SHORT.found(name=one.name, needed=needed, given=one.grace_period)
    if one.grace_period < total + SPARE:
        return TIGHT.found(name=one.name, needed=needed, given=one.grace_period)
    return well(f"{one.name}: a stop takes up to {needed}, of {one.grace_period:g} s")
