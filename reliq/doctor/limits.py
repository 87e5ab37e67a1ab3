"""What the server allows: how long connections may rest and scripts may run, and how many there may be."""

from __future__ import annotations

from collections.abc import Iterator

from reliq.doctor.finding import FULL, Finding, Kind, Level, well
from reliq.doctor.subject import Subject
from reliq.store.scripts import Library

SHORT_SCRIPT_MS = 500
"""A bounded script takes some milliseconds, and several times that on a busy machine."""

MANY_SCRIPTS = 1000

IDLE_TIMEOUT = Kind(
    "idle-timeout",
    Level.WARNING,
    "Redis closes connections that rest for {seconds} s",
    "The connection for turns rests while a worker waits for jobs. Each cut costs a new connection, a look at what "
    "became of the last turn, and a warning in the log.",
    "Set timeout 0. Connections of dead clients go by tcp-keepalive.",
)
LONG_IDLE_TIMEOUT = Kind(
    "long-idle-timeout",
    Level.NOTE,
    "Redis closes connections that rest for {seconds} s",
    "A producer finds its connection closed after a rest, and makes a new one, as the seldom used ones of a worker. "
    "Nothing is lost.",
    "Set timeout 0 to save these connections.",
)
SHORT_SCRIPTS = Kind(
    "short-scripts",
    Level.WARNING,
    "lua-time-limit is {ms} ms",
    "While a script runs longer than that, all others are refused with BUSY. One that brings back a thousand jobs "
    "takes some milliseconds, on a busy machine more.",
    "Set lua-time-limit 5000, which is the default.",
)


def timeouts(subject: Subject) -> Iterator[Finding]:
    """Whether the server cuts connections or scripts short."""
    idle = subject.number("timeout")
    if idle:
        # A worker without jobs makes a turn when a doorbell has blocked in vain; the server looks once a second.
        short = idle <= subject.config.block + 1
        yield (IDLE_TIMEOUT if short else LONG_IDLE_TIMEOUT).found(seconds=idle)
    limit = subject.number("lua-time-limit")
    if 0 < limit < SHORT_SCRIPT_MS:
        yield SHORT_SCRIPTS.found(ms=limit)
    if not idle and not 0 < limit < SHORT_SCRIPT_MS:
        yield well("connections may rest, scripts may run")


SCRIPTS_PILE_UP = Kind(
    "scripts-pile-up",
    Level.WARNING,
    "{count:,} scripts are cached, {own} are reliq's",
    "Some program sends scripts whose text is always another one, and Redis keeps them all, until its memory is full.",
    "Find that program (MONITOR shows EVAL), and let it pass values as arguments. SCRIPT FLUSH empties the cache.",
)


def scripts(subject: Subject) -> Iterator[Finding]:
    """Whether reliq's scripts are known, and whether somebody floods their cache."""
    shas = list(Library.load().shas.values())
    known = sum(subject.call("SCRIPT", "EXISTS", *shas))
    cached = int(subject.info("memory").get("number_of_cached_scripts", 0))
    if cached > MANY_SCRIPTS:
        yield SCRIPTS_PILE_UP.found(count=cached, own=len(shas))
    else:
        yield well(f"{known} of {len(shas)} scripts are cached; the others are sent when they are needed")


CLIENTS_NEARLY_FULL = Kind(
    "clients-nearly-full",
    Level.WARNING,
    "{used} of {limit} connections are in use",
    "When they are used up, Redis lets nobody in. A worker that lost its connection cannot beat and is taken for dead.",
    "Raise maxclients, and the limit of open files of the server (ulimit -n) with it.",
)
CLIENTS_REFUSED = Kind(
    "clients-refused",
    Level.WARNING,
    "{count} connections were refused since the server started",
    "The limit of connections was reached. A worker that cannot connect cannot beat, and is taken for dead.",
    "Raise maxclients, and the limit of open files of the server (ulimit -n) with it.",
)
NO_ROOM = Kind(
    "clients-no-second-fleet",
    Level.NOTE,
    "{used} of {limit} connections are in use, and the fleet has about {fleet}",
    "A deploy that starts all new pods before it stops the old ones needs as many again.",
    "Raise maxclients, or let the deploy go in smaller steps (maxSurge).",
)
OF_SUPERVISOR = 5
"""Connections of a supervisor: heartbeat, reaper, promoter, quarantine, recovery."""


def clients(subject: Subject) -> Iterator[Finding]:
    """Whether the server has connections left for the fleet."""
    limit, used = int(subject.said("clients", "maxclients")), int(subject.said("clients", "connected_clients"))
    refused = int(subject.info("stats").get("rejected_connections", 0))
    living = subject.living
    # One more each: that by which jobs ask for their crashes and fence numbers.
    fleet = sum(len(entry.clients) + 1 for entry in living) + OF_SUPERVISOR * len({entry.host for entry in living})
    if refused:
        yield CLIENTS_REFUSED.found(count=refused)
    if used > FULL * limit:
        yield CLIENTS_NEARLY_FULL.found(used=used, limit=limit)
    elif used + fleet > limit:
        yield NO_ROOM.found(used=used, limit=limit, fleet=fleet)
    elif not refused:
        yield well(f"{used} of {limit} connections are in use, the fleet has about {fleet}")
