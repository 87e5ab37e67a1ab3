"""The fleet: who is alive, how well it beats, and what the dead have left."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import orjson

from reliq import __version__
from reliq.doctor.finding import Finding, Kind, Level, some, well
from reliq.doctor.subject import Subject

REAPED_WITHIN = 10.0
"""Seconds after a death is proven in which its jobs are certainly back, if anybody looks."""

CLOCK_AGE = (-2.0, 15.0)
"""Seconds that the last word of a process may be old, by its own clock against that of Redis: one is said every 5."""

NOBODY = Kind(
    "no-worker",
    Level.NOTE,
    "no worker is alive",
    "Nothing runs, nothing is promoted, and nobody brings back the jobs of the dead.",
    "Start one: reliq worker -A module:name.",
)
LATE_BEATS = Kind(
    "late-beats",
    Level.WARNING,
    "{count} living processes have missed two beats: {names}",
    "A process that cannot beat for the TTL is taken for dead, and its jobs run a second time.",
    "Look for a machine without processor time (a CPU limit on the pod), or for a slow network.",
)
OTHER_TTL = Kind(
    "other-ttl",
    Level.WARNING,
    "{count} processes beat with another TTL than {ttl:g} s: {names}",
    "Beat, TTL and confirm time decide about the death of other processes. They must be the same in all of a fleet.",
    "Give all workers and reapers the same settings, and the doctor too: --ttl, RELIQ_TTL, or ttl in reliq.toml.",
)
HOST_CLOCKS = Kind(
    "host-clocks",
    Level.WARNING,
    "the clocks of these processes are off: {names}",
    "Scheduled jobs and retries come too early or too late where such a clock decides, and latencies are wrong.",
    "Let NTP or chrony keep the clocks of all machines.",
)


def heartbeats(subject: Subject) -> Iterator[Finding]:
    """Whether the living beat in time, with our settings and by a clock that is right."""
    living = [entry.identity for entry in subject.living]
    if not living:
        yield NOBODY.found()
        return
    late = [name for name in living if name in subject.late]
    if late:
        yield LATE_BEATS.found(count=len(late), names=some(late))
    ttl = subject.config.ttl
    left = subject.link.call_all([("PTTL", subject.keys.heartbeat(name)) for name in living])
    # Just after a beat the whole TTL is left, and two beats later all but two beats.
    other = [
        name
        for name, ms in zip(living, left, strict=True)
        if ms > ttl * 1000 or (name not in late and 0 < ms < (ttl - 2 * subject.config.beat) * 1000 - 500)
    ]
    if other:
        yield OTHER_TTL.found(count=len(other), ttl=ttl, names=some(other))
    off = _clocks(subject, [name for name in living if name not in late])
    if off:
        yield HOST_CLOCKS.found(names=some(off))
    if not late + other + off:
        yield well(f"{len(living)} processes beat in time")


def _clocks(subject: Subject, names: list[str]) -> list[str]:
    now = subject.server_time()
    words = subject.link.call_all([("HGET", subject.keys.shown(name), "beat") for name in names])
    found = []
    for name, word in zip(names, words, strict=True):
        age = now - float(word) if word else 0.0
        if not CLOCK_AGE[0] <= age <= CLOCK_AGE[1]:
            found.append(f"{name} ({abs(age):.0f} s {'behind' if age > 0 else 'ahead'})")
    return found


NOT_REAPED = Kind(
    "not-reaped",
    Level.PROBLEM,
    "{count} dead processes still hold jobs, and nobody brings them back: {names}",
    "These jobs wait until somebody does.",
    "Start a worker, or `reliq reaper`; if one runs, its log says what it cannot do.",
)
ORPHANS = Kind(
    "orphaned-jobs",
    Level.PROBLEM,
    "{jobs} jobs lie in private queues that nobody looks after: {names}",
    "Their owner is not among the `beats`, so no reaper comes. That follows when keys were deleted by hand, or when "
    "Redis lost writes.",
    "ZADD beats 0 OWNER for each of these, with the namespace before `beats`. A reaper then brings the jobs back.",
)
LOOKED_IN_PART = Kind(
    "orphans-looked-in-part",
    Level.NOTE,
    "looked through about {seen:,} of {total:,} keys in {seconds:g} s, and stopped",
    "Jobs may lie in private queues that nobody looks after, among the keys not seen.",
    "Run the doctor when less is queued, or give reliq a Redis of its own.",
)
SCAN_COUNT, SCAN_SECONDS = 1000, 10.0


def reaping(subject: Subject) -> Iterator[Finding]:
    """Whether the jobs of dead processes come back."""
    bound = subject.config.ttl + subject.config.confirm_after + REAPED_WITHIN
    alive = {entry.identity for entry in subject.living}
    overdue = [name for name, late in subject.late.items() if late > bound and name not in alive]
    entries = [subject.processes.entry(name) for name in overdue]
    left = subject.processes.leftovers(entries)
    names = [entry.identity for entry, holds in zip(entries, left, strict=True) if holds]
    if names:
        yield NOT_REAPED.found(count=len(names), names=some(names))
    else:
        yield well("no dead process holds jobs")


def orphans(subject: Subject) -> Iterator[Finding]:
    """Whether any private queue lies where no reaper looks. Goes through all keys, for at most ten seconds."""
    until = subject.clock.mono() + SCAN_SECONDS
    owners: Counter[str] = Counter()
    cursor, seen = b"0", 0
    while not seen or (cursor != b"0" and subject.clock.mono() < until):
        cursor, found = subject.call(
            "SCAN", cursor, "MATCH", subject.keys.privates, "COUNT", SCAN_COUNT, "TYPE", "list"
        )
        seen += SCAN_COUNT
        owners.update(_unknown(subject, found))
    if owners:
        yield ORPHANS.found(jobs=owners.total(), names=some(sorted(owners)))
    if cursor != b"0":
        yield LOOKED_IN_PART.found(seen=seen, total=subject.call("DBSIZE"), seconds=SCAN_SECONDS)
    elif not owners:
        yield well("every private queue has an owner that is looked after")


def _unknown(subject: Subject, found: list[bytes]) -> Counter[str]:
    """Return the jobs of those private queues whose owner is not among the beats, by the owner."""
    owned = [(owner, key) for key in found if (owner := subject.keys.owner(key))]
    if not owned:
        return Counter()
    beats = subject.call("ZMSCORE", subject.keys.beats, *(owner for owner, _ in owned))
    lost = [one for one, beat in zip(owned, beats, strict=True) if beat is None]
    lengths = subject.link.call_all([("LLEN", key) for _, key in lost])
    jobs: Counter[str] = Counter()
    for (owner, _), length in zip(lost, lengths, strict=True):
        jobs[owner] += length
    return jobs


OLD_VERSIONS = Kind(
    "old-versions",
    Level.WARNING,
    "older than this reliq {own}: {names}",
    "Every process writes and recovers by its own version, and what a later one mended they still do.",
    "Finish the deploy. If there is none, look for workers that nobody has restarted.",
)
NEWER_VERSIONS = Kind(
    "newer-versions",
    Level.NOTE,
    "newer than this reliq {own}: {names}",
    "This doctor may not know what they do.",
    "Run the doctor of the fleet's own version.",
)


def versions(subject: Subject) -> Iterator[Finding]:
    """Whether all of the fleet runs the version of this doctor."""
    own = _numbers(__version__)
    counts = Counter(entry.version or "no version" for entry in subject.living)
    names = {version: f"{count} processes with {version}" for version, count in sorted(counts.items())}
    old = [name for version, name in names.items() if _numbers(version) < own]
    new = [name for version, name in names.items() if _numbers(version) > own]
    if old:
        yield OLD_VERSIONS.found(own=__version__, names=some(old))
    if new:
        yield NEWER_VERSIONS.found(own=__version__, names=some(new))
    if not old + new:
        yield well(f"{counts.total()} processes, all with {__version__}" if counts else "no process is alive")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


SIDEKIQ = Kind(
    "sidekiq",
    Level.NOTE,
    "Ruby processes work here, too: {names}",
    "What a Ruby process takes or promotes it moves in its own way (pop, then push). No promise of reliq covers that.",
    "Let each queue be worked by one of the two. Keep schedules apart by a namespace, if a lost scheduled job matters.",
)


def sidekiq(subject: Subject) -> Iterator[Finding]:
    """Whether processes that are not reliq's show themselves in Sidekiq's view."""
    names = sorted(foreigners(subject))
    yield SIDEKIQ.found(names=some(names)) if names else well("no Ruby process shows itself")


def foreigners(subject: Subject) -> dict[str, set[str]]:
    """Return the processes of Sidekiq's view that are not reliq's, and their queues."""
    names = [name.decode() for name in subject.call("SMEMBERS", subject.keys.processes)]
    texts = subject.link.call_all([("HGET", subject.keys.shown(name), "info") for name in names])
    found = {}
    for name, text in zip(names, texts, strict=True):
        try:
            shown = orjson.loads(text or b"null")
        except orjson.JSONDecodeError:
            shown = None
        if isinstance(shown, dict) and shown.get("tag") != "reliq":
            queues = shown.get("queues")
            found[name] = {str(queue) for queue in queues} if isinstance(queues, list) else set()
    return found
