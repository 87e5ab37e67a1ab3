"""Survey: what waits, what runs and who works, read from Redis as of one moment. For `status`, metrics and scalers.

It asks by name only, never for all keys, in three round trips: what there is; all lengths, in one transaction, so that
a job on its way from one list to another is counted once and not missed; and the next job of each queue.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import attrs

from reliq.errors import BadPayload
from reliq.job import decode
from reliq.store.connection import Link
from reliq.store.keys import FENCED
from reliq.store.opening import Store
from reliq.store.paces import Ran, read
from reliq.store.processes import Entry

K = TypeVar("K")

AT_ONCE = 5000
"""Commands of one transaction, which the server does in some 2 ms. A larger fleet is read in several."""

PIECE = 100
"""Payloads of one reply: each may have up to 1 MiB."""

TRIES = 3
"""How often it begins anew when a process has joined meanwhile, whose jobs it would miss."""


@attrs.frozen(kw_only=True)
class QueueState:
    """One queue, in jobs.

    `waiting` are in the public queue. `oldest` is the age of the one that is next, in seconds; None when none waits or
    the job does not tell. `held` are with living processes, `orphaned` with such as are not alive: a reaper is about
    to bring them back. `ran` is what ran lately.
    """

    name: str
    waiting: int
    oldest: float | None
    paused: bool
    held: int
    orphaned: int
    quarantined: int
    ran: Ran


@attrs.frozen(kw_only=True)
class ProcessState:
    """One process of the fleet; `busy` are its jobs in progress, `quiet` says that it takes no more."""

    entry: Entry
    alive: bool
    quiet: bool
    held: int
    busy: int

    @property
    def works(self) -> bool:
        """Whether it is there for the public queues: alive, and not the one of the quarantine."""
        return self.alive and not self.entry.quarantine

    @property
    def idle(self) -> int:
        """How many more jobs it could take at once."""
        return max(0, self.entry.concurrency - self.busy) if self.works and not self.quiet else 0


@attrs.frozen(kw_only=True)
class Survey:
    """Everything at one moment; queues are by name.

    `due` are the scheduled and failed jobs whose time has come, `orphans` the private lists with jobs of processes that
    are not alive.
    """

    processed: int
    failed: int
    trimmed: int
    scheduled: int
    retries: int
    dead: int
    due: int
    orphans: int
    queues: list[QueueState]
    processes: list[ProcessState]


@attrs.frozen
class _Outline:
    """What there is: everything that has a name."""

    counts: list[int]
    names: list[str]
    paused: set[bytes]
    ran: dict[str, Ran]
    entries: list[Entry]


@attrs.frozen
class _Lengths:
    """All lengths, and the heartbeats, as of one moment."""

    fleet: set[str]
    beats: dict[str, bytes | None]
    waiting: dict[str, int]
    quarantined: dict[str, int]
    held: dict[tuple[str, str], int]

    def alive(self, entry: Entry) -> bool:
        return self.beats[entry.identity] not in (None, FENCED)

    def orphans(self, entries: Sequence[Entry]) -> int:
        dead = [entry for entry in entries if not self.alive(entry)]
        return sum(self.held[entry.identity, name] > 0 for entry in dead for name in entry.queues)


class Surveyor:
    """Reads over one link. Not for several threads at once; close it when done."""

    def __init__(self, store: Store) -> None:
        self._keys = store.keys
        self._link: Link = store.link("survey")

    def survey(self) -> Survey:
        """Return everything. Raises StoreError."""
        outline, lengths = self._consistent()
        processed, failed, trimmed, scheduled, retries, dead, *due = outline.counts
        return Survey(
            processed=processed,
            failed=failed,
            trimmed=trimmed,
            scheduled=scheduled,
            retries=retries,
            dead=dead,
            due=sum(due),
            orphans=lengths.orphans(outline.entries),
            queues=self._queues(outline, lengths),
            processes=self._processes(outline.entries, lengths),
        )

    def close(self) -> None:
        """Close the connection."""
        self._link.close()

    def _consistent(self) -> tuple[_Outline, _Lengths]:
        tries = 0
        while True:
            outline = self._outline()
            lengths = self._lengths(outline)
            tries += 1
            if tries == TRIES or lengths.fleet <= lengths.beats.keys():
                return outline, lengths

    def _outline(self) -> _Outline:
        keys, now = self._keys, repr(time.time())
        *counts, queues, paused, pace, fleet = self._link.call_all(
            [
                *(("GET", keys.stat(name)) for name in ("processed", "failed", "trimmed")),
                *(("ZCARD", key) for key in (keys.schedule, keys.retry, keys.dead)),
                *(("ZCOUNT", key, "-inf", now) for key in (keys.schedule, keys.retry)),
                ("SMEMBERS", keys.queues),
                ("SMEMBERS", keys.paused),
                ("HGETALL", keys.pace),
                ("HGETALL", keys.fleet),
            ]
        )
        entries = [Entry.of_json(name.decode(), text) for name, text in _pairs(fleet)]
        return _Outline(
            counts=[int(count or 0) for count in counts],
            names=sorted({*_texts(queues), *(name for entry in entries for name in entry.queues)}),
            paused=set(paused),
            ran=read(dict(_pairs(pace))),
            entries=entries,
        )

    def _lengths(self, outline: _Outline) -> _Lengths:
        keys, names = self._keys, outline.names
        identities = [entry.identity for entry in outline.entries]
        pairs = [(entry.identity, name) for entry in outline.entries for name in entry.queues]
        replies = iter(
            self._at_once(
                [
                    ("HKEYS", keys.fleet),
                    *(("GET", keys.heartbeat(identity)) for identity in identities),
                    *(("LLEN", keys.queue(name)) for name in names),
                    *(("LLEN", keys.quarantine(name)) for name in names),
                    *(("LLEN", keys.private(identity, name)) for identity, name in pairs),
                ]
            )
        )
        return _Lengths(
            fleet={name.decode() for name in next(replies)},
            beats=_take(replies, identities),
            waiting=_take(replies, names),
            quarantined=_take(replies, names),
            held=_take(replies, pairs),
        )

    def _at_once(self, commands: Sequence[Sequence[Any]]) -> Iterator[Any]:
        for at in range(0, len(commands), AT_ONCE):
            yield from self._link.call_atomic(commands[at : at + AT_ONCE])

    def _queues(self, outline: _Outline, lengths: _Lengths) -> list[QueueState]:
        oldest = self._oldest([name for name in outline.names if lengths.waiting[name]])
        held = dict.fromkeys(outline.names, 0)
        orphaned = dict.fromkeys(outline.names, 0)
        for entry in outline.entries:
            place = held if lengths.alive(entry) else orphaned
            for name in entry.queues:
                place[name] += lengths.held[entry.identity, name]
        return [
            QueueState(
                name=name,
                waiting=lengths.waiting[name],
                oldest=oldest.get(name),
                paused=name.encode() in outline.paused,
                held=held[name],
                orphaned=orphaned[name],
                quarantined=lengths.quarantined[name],
                ran=outline.ran.get(name, Ran(0.0, 0.0)),
            )
            for name in outline.names
        ]

    def _oldest(self, names: list[str]) -> dict[str, float]:
        found = {}
        for at in range(0, len(names), PIECE):
            piece = names[at : at + PIECE]
            payloads = self._link.call_all([("LINDEX", self._keys.queue(name), -1) for name in piece])
            for name, payload in zip(piece, payloads, strict=True):
                age = _age(payload)
                if age is not None:
                    found[name] = age
        return found

    def _processes(self, entries: list[Entry], lengths: _Lengths) -> list[ProcessState]:
        living = [entry for entry in entries if lengths.alive(entry)]
        shown = dict(
            zip(
                (entry.identity for entry in living),
                self._link.call_all([("HMGET", self._keys.shown(entry.identity), "busy", "quiet") for entry in living]),
                strict=True,
            )
        )
        states = []
        for entry in entries:
            busy, quiet = shown.get(entry.identity, (None, None))
            held = sum(lengths.held[entry.identity, name] for name in entry.queues)
            states.append(
                ProcessState(
                    entry=entry,
                    alive=entry.identity in shown,
                    quiet=entry.stopping or quiet == b"true",
                    held=held,
                    # Without private lists there is only its own word, which is up to 5 s old.
                    busy=min(held, entry.concurrency) if entry.superfetch else int(busy or 0),
                )
            )
        return states


def _pairs(flat: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _texts(members: Sequence[bytes]) -> Iterator[str]:
    for member in members:
        with suppress(UnicodeDecodeError):  # then it is no queue that reliq could know
            yield member.decode()


def _take(replies: Iterator[Any], names: Sequence[K]) -> dict[K, Any]:
    return {name: next(replies) for name in names}


def _age(payload: bytes | None) -> float | None:
    if payload is None:
        return 0.0  # somebody has taken it meanwhile
    try:
        enqueued_at = decode(payload).enqueued_at
    except BadPayload:
        return None
    return None if enqueued_at is None else max(0.0, time.time() - enqueued_at)
