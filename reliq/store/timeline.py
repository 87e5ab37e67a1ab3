"""Timelines: what happened to a job, attempt by attempt. For a share of all jobs, and for a bounded time."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Sequence
from typing import Any

import attrs
import orjson

from reliq.config import Config
from reliq.errors import Refused
from reliq.store.connection import Link
from reliq.store.keys import Keyspace

MOST = 50
"""Events that are kept of a job, the latest."""

LONGEST = 500
"""Characters of a text that are kept."""

_log = logging.getLogger("reliq.timeline")


@attrs.frozen(kw_only=True)
class Event:
    """One moment of a job. `at` is epoch seconds by the clock of whoever writes it.

    `what` is started, done, retried, buried, dropped, released, late (it ended after its process had been declared
    dead) or died (its process did). `seconds` is how long the attempt took, `text` the error or the cause.
    """

    at: float
    what: str
    identity: str
    queue: str = ""
    attempt: int | None = None
    seconds: float | None = None
    text: str = ""

    def encode(self) -> bytes:
        """Return it as JSON, without what is not known."""
        known = {name: value for name, value in attrs.asdict(self).items() if value not in (None, "")}
        if self.text:
            known["text"] = self.text[:LONGEST].encode("utf-8", "replace").decode()
        return orjson.dumps(known)

    @classmethod
    def decode(cls, text: bytes) -> Event | None:
        """Return the event, None for what is none: anybody may have written it."""
        try:
            known: dict[str, Any] = orjson.loads(text)
            fields = {field.name: known[field.name] for field in attrs.fields(cls) if field.name in known}
            event = cls(**fields)
            return event if isinstance(event.at, float | int) and isinstance(event.what, str) else None
        except (orjson.JSONDecodeError, TypeError, AttributeError):
            return None


class Timelines:
    """Writes and reads them. What cannot be written is left out: no job depends on it."""

    def __init__(self, config: Config, keys: Keyspace) -> None:
        self._below = int(config.timeline_rate * 2**32)
        self._keep_ms = max(1, round(config.timeline_keep * 1000))
        self._keys = keys
        self._refused = False

    @property
    def on(self) -> bool:
        """Whether any job has one."""
        return self._below > 0

    def chosen(self, jid: str) -> bool:
        """Whether this job has one: the same answer in every process, for every attempt."""
        return zlib.crc32(jid.encode("utf-8", "surrogatepass")) < self._below

    def write(self, link: Link, events: Sequence[tuple[str, Event]]) -> None:
        """Append events to the timelines of their jids, in one round trip. Raises Unreachable."""
        by_jid: dict[str, list[bytes]] = {}
        for jid, event in events:
            by_jid.setdefault(jid, []).append(event.encode())
        commands: list[tuple[Any, ...]] = []
        for jid, texts in by_jid.items():
            key = self._keys.timeline(jid)
            commands += [("RPUSH", key, *texts), ("LTRIM", key, -MOST, -1), ("PEXPIRE", key, self._keep_ms)]
        refusals = [reply for reply in (link.call_many(commands) if commands else []) if isinstance(reply, Refused)]
        if refusals and not self._refused:
            _log.warning("timelines cannot be written: %s", refusals[0])
        self._refused = bool(refusals)

    def read(self, link: Link, jid: str) -> list[Event]:
        """Return what is known of a job, oldest first. Raises StoreError."""
        texts = link.call("LRANGE", self._keys.timeline(jid), 0, -1)
        return [event for event in map(Event.decode, texts) if event is not None]
