"""Where one job is, and what is known of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import attrs
import orjson

from reliq.errors import BadPayload
from reliq.job import jid_of
from reliq.store.connection import Link
from reliq.store.opening import Store
from reliq.store.processes import Entry
from reliq.store.timeline import Event, Timelines

CHUNK = 500
"""Payloads that are looked at per round trip."""


@attrs.frozen(kw_only=True)
class Place:
    """One home of a job. `kind` is queue, quarantine, private, schedule, retry or dead.

    `ahead` is how many jobs of the list run before it. `at` is the due time, or the time of death, and `since` when it
    was started (epoch seconds). `identity` is the process that holds it; `alive` whether that beats.
    """

    kind: str
    queue: str | None = None
    ahead: int | None = None
    at: float | None = None
    identity: str | None = None
    alive: bool | None = None
    since: float | None = None
    payload: bytes


@attrs.frozen
class Found:
    """All that is known of a job. `complete` is False if the time was over before everything was looked at."""

    places: list[Place]
    crashes: int
    events: list[Event]
    complete: bool


class Lookup:
    """Looks for jobs. Close it when done."""

    def __init__(self, store: Store) -> None:
        self._keys = store.keys
        self._timelines = Timelines(store.config, store.keys)
        self._link: Link = store.link("lookup")

    def close(self) -> None:
        """Close the connection."""
        self._link.close()

    def find(self, jid: str, within: float) -> Found:
        """Look everywhere, for so many seconds at most. Raises StoreError.

        A job that moves meanwhile may be missed, or be found twice.
        """
        until = time.monotonic() + within
        places, complete = [], True
        for place in self._places(jid, until):
            if place is None:
                complete = False
            else:
                places.append(place)
        crashes = self._link.call("HGET", self._keys.crashes, jid) or b"0"
        events = self._timelines.read(self._link, jid)
        return Found(places, int(crashes.partition(b":")[0]), events, complete)

    def _places(self, jid: str, until: float) -> Iterator[Place | None]:
        # First what is short, and where a job is when somebody asks: with a process, or failed.
        entries = self._entries()
        yield from self._held(jid, entries)
        for kind, key in (("retry", self._keys.retry), ("dead", self._keys.dead), ("schedule", self._keys.schedule)):
            yield from self._in_set(jid, kind, key, until)
        queues = {name.decode() for name in self._link.call("SMEMBERS", self._keys.queues)}
        for name in sorted(queues.union(*(entry.queues for entry, _ in entries))):
            yield from self._in_list(jid, "quarantine", name, self._keys.quarantine(name), until)
            yield from self._in_list(jid, "queue", name, self._keys.queue(name), until)

    def _entries(self) -> list[tuple[Entry, bool]]:
        flat = self._link.call("HGETALL", self._keys.fleet)
        entries = [Entry.of_json(name.decode(), text) for name, text in zip(flat[::2], flat[1::2], strict=True)]
        beats = self._link.call_all([("GET", self._keys.heartbeat(entry.identity)) for entry in entries])
        return [(entry, beat not in (None, b"fenced")) for entry, beat in zip(entries, beats, strict=True)]

    def _held(self, jid: str, entries: list[tuple[Entry, bool]]) -> Iterator[Place]:
        for entry, alive in entries:
            asked = [("LRANGE", self._keys.private(entry.identity, name), 0, -1) for name in entry.queues]
            *lists, work = self._link.call_all([*asked, ("HVALS", self._keys.work(entry.identity))])
            for name, payloads in zip(entry.queues, lists, strict=True):
                for payload in payloads:
                    if _is(payload, jid):
                        since = _since(work, payload)
                        who = entry.identity
                        yield Place(kind="private", queue=name, identity=who, alive=alive, since=since, payload=payload)

    def _in_set(self, jid: str, kind: str, key: str, until: float) -> Iterator[Place | None]:
        cursor = b"0"
        while True:
            cursor, flat = self._link.call("ZSCAN", key, cursor, "COUNT", CHUNK)
            for payload, score in zip(flat[::2], flat[1::2], strict=True):
                if _is(payload, jid):
                    yield Place(kind=kind, at=float(score), payload=payload)
            if cursor == b"0":
                return
            if time.monotonic() > until:
                yield None
                return

    def _in_list(self, jid: str, kind: str, name: str, key: str, until: float) -> Iterator[Place | None]:
        # From the right, where the next job is: what is pushed meanwhile does not shift it.
        ahead = 0
        while True:
            payloads = self._link.call("LRANGE", key, -ahead - CHUNK, -ahead - 1)
            for number, payload in enumerate(reversed(payloads), ahead):
                if _is(payload, jid):
                    yield Place(kind=kind, queue=name, ahead=number, payload=payload)
            ahead += len(payloads)
            if len(payloads) < CHUNK:
                return
            if time.monotonic() > until:
                yield None
                return


def _is(payload: bytes, jid: str) -> bool:
    # The first look is a hundred times cheaper, and says no to nearly all. A payload without an id has a stand-in.
    return (jid.encode() in payload or b'"jid"' not in payload) and jid_of(payload) == jid


def _since(work: list[bytes], payload: bytes) -> float | None:
    for text in work:
        try:
            said: dict[str, Any] = orjson.loads(text)
            if said["payload"] == payload.decode():
                return float(said["run_at"])
        except (ValueError, TypeError, KeyError, BadPayload):
            continue
    return None
