"""All checks, in the order in which they are made, and how one is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import attrs

from reliq.doctor import access, fleet, jobs, limits, link, pod, server
from reliq.doctor.finding import UNCHECKED, Finding, Unknown
from reliq.doctor.subject import Subject
from reliq.errors import Refused, Unreachable

Check = Callable[[Subject], Iterator[Finding]]

CHECKS: Mapping[str, Check] = {
    "version": server.version,
    "role": server.role,
    "persistence": server.persistence,
    "memory": server.memory,
    "timeouts": limits.timeouts,
    "scripts": limits.scripts,
    "clients": limits.clients,
    "access": access.access,
    "clock": link.clock,
    "latency": link.latency,
    "heartbeats": fleet.heartbeats,
    "reaping": fleet.reaping,
    "orphans": fleet.orphans,
    "versions": fleet.versions,
    "sidekiq": fleet.sidekiq,
    "queues": jobs.queues,
    "schedule": jobs.schedule,
    "quarantine": jobs.quarantine,
    "dead set": jobs.dead_set,
    "shutdown": pod.shutdown,
}
"""Names and functions. Each function yields at least one finding."""


def examine(subject: Subject, names: Iterable[str] = tuple(CHECKS)) -> list[Finding]:
    """Make these checks; return what they found. Raises StoreError when nobody answers, or lets us in."""
    subject.greet()
    return [attrs.evolve(found, check=name) for name in names for found in _made(CHECKS[name], subject)]


def _made(check: Check, subject: Subject) -> list[Finding]:
    try:
        return _guarded(check, subject)
    except Unreachable:
        # A connection that rested while another one was in use may have been closed: the check begins anew, once.
        return _guarded(check, subject)


def _guarded(check: Check, subject: Subject) -> list[Finding]:
    found: list[Finding] = []
    try:
        for finding in check(subject):
            found.append(finding)  # noqa: PERF402 - what came before an error counts
    except (Refused, Unknown) as error:
        found.append(UNCHECKED.found(reason=error))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        # Managed servers leave out what others say, or say it in other words.
        found.append(UNCHECKED.found(reason=f"the answer was not understood ({type(error).__name__}: {error})"))
    return found
