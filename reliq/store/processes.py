"""Life and death of worker processes: the fleet, heartbeats, suspicion, the verdict, and the way back of jobs."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import attrs
import orjson

from reliq.errors import Refused
from reliq.job import jid_of
from reliq.store.claims import Condemned
from reliq.store.connection import Link
from reliq.store.keys import FENCED, Key
from reliq.store.opening import Store
from reliq.store.paces import Ran, mix

SHOWN_MS = 60_000
"""How long Sidekiq's view shows a process after its last word, as Sidekiq does."""

WALK_MS = 15 * 60 * 1000
"""How long a dead identity is looked after: longer than a blocked command or a late packet lives."""

REAP_ITEMS = 1000
REAP_BYTES = 1024 * 1024


def new_identity(host: str, pid: int) -> str:
    """Return a fresh identity, `host:pid:12 hexadecimal digits`."""
    return f"{host}:{pid}:{secrets.token_hex(6)}"


@attrs.frozen(kw_only=True)
class Entry:
    """What the fleet knows of one identity.

    `clients` are the server's ids of its connections, valid for the server run `run_id` only. `stopping`
    says that it was told to stop: what it leaves behind is no crash. Without `superfetch` it has no private
    lists: what it runs is seen in its view only.
    """

    identity: str
    host: str
    pid: int
    queues: tuple[str, ...]
    started: float
    concurrency: int = 0
    quarantine: bool = False
    superfetch: bool = True
    stopping: bool = False
    run_id: str = ""
    clients: tuple[int, ...] = ()
    version: str = ""

    def to_json(self) -> bytes:
        """Return the entry as it is stored."""
        return orjson.dumps(attrs.asdict(self))

    @classmethod
    def of_json(cls, identity: str, text: bytes | None) -> Entry:
        """Return the stored entry; one without queues when it is missing or not readable."""
        try:
            data = orjson.loads(text or b"null")
        except orjson.JSONDecodeError:
            data = None
        if not isinstance(data, dict):
            data = {}
        known = {field.name: data[field.name] for field in attrs.fields(cls) if field.name in data}
        known["identity"] = identity
        for name in ("queues", "clients"):
            known[name] = tuple(known[name]) if isinstance(known.get(name), list) else ()
        return cls(**({"host": "", "pid": 0, "started": 0.0} | known))


class Evidence(StrEnum):
    """What a verdict rests on; `lua/condemn.lua` says what each must show."""

    WATCH = "watch"
    COUNTER = "counter"
    CHILD = "child"


@attrs.frozen
class Look:
    """One look at a heartbeat: `fenced`, `alive` with its counter, or `missing` for so many milliseconds."""

    state: str
    counter: str = ""
    watched_ms: int = 0


@attrs.define
class Reaped:
    """The payloads that a sweep moved, by where they went."""

    public: list[bytes] = attrs.Factory(list)
    quarantined: list[bytes] = attrs.Factory(list)
    buried: list[bytes] = attrs.Factory(list)

    @property
    def total(self) -> int:
        """How many jobs were moved."""
        return len(self.public) + len(self.quarantined) + len(self.buried)


class Processes:
    """The store's verbs about processes, over one link. Not for several threads at once."""

    def __init__(self, store: Store, link: Link) -> None:
        self.link = link
        self._store = store
        self._keys = store.keys
        self._scripts = store.scripts(link)
        self._config = store.config

    # -- the living

    def register(self, entry: Entry) -> str:
        """Enter the identity into the fleet, or write its entry anew; return its beat counter. Raises Condemned."""
        identity = entry.identity
        reply = self._scripts.register(
            heartbeat=self._keys.heartbeat(identity),
            beats=self._keys.beats,
            suspects=self._keys.suspects,
            fleet=self._keys.fleet,
            identity=identity,
            ttl_ms=self._ttl_ms,
            entry=entry.to_json(),
        )
        return self._counter(identity, reply)

    def beat(self, identity: str) -> str:
        """Beat once; return the counter. Raises Condemned."""
        reply = self._scripts.beat(
            heartbeat=self._keys.heartbeat(identity),
            beats=self._keys.beats,
            suspects=self._keys.suspects,
            shown=self._keys.shown(identity),
            work=self._keys.work(identity),
            identity=identity,
            ttl_ms=self._ttl_ms,
            shown_ms=self.shown_ms,
        )
        return self._counter(identity, reply)

    def leave(self, identity: str, queues: Sequence[str]) -> int:
        """Fence the own identity; return 0, or how many jobs it still holds and therefore may not leave."""
        reply = self._scripts.leave(
            heartbeat=self._keys.heartbeat(identity),
            processes=self._keys.processes,
            shown=self._keys.shown(identity),
            work=self._keys.work(identity),
            signals=self._keys.signals(identity),
            private=self._private(identity, queues),
            identity=identity,
        )
        return int(reply[1]) if reply[0] == b"held" else 0

    def last_turn(self, identity: str) -> int:
        """Return the number of the last turn that was applied, 0 if none was."""
        text = self.link.call("GET", self._keys.turn(identity)) or b"0"
        return int(text.rpartition(b":")[2])  # after a reconciliation another number stands before it

    def show(self, identity: str, fields: dict[str, str | int | float]) -> str | None:
        """Show the process in Sidekiq's view; return a signal that the view left for it."""
        flat = [part for pair in fields.items() for part in pair]
        signal = self._scripts.show(
            heartbeat=self._keys.heartbeat(identity),
            processes=self._keys.processes,
            shown=self._keys.shown(identity),
            signals=self._keys.signals(identity),
            identity=identity,
            shown_ms=self.shown_ms,
            fields=flat,
        )
        return signal.decode() if signal else None

    def show_work(self, identity: str, entries: dict[str, bytes]) -> None:
        """Show what the process runs, as Sidekiq writes it: thread id to JSON."""
        flat = [part for pair in entries.items() for part in pair]
        self._scripts.show_work(
            heartbeat=self._keys.heartbeat(identity),
            work=self._keys.work(identity),
            shown_ms=self.shown_ms,
            entries=flat,
        )

    def show_pace(self, ran: Mapping[str, Ran], now: float) -> None:
        """Show how long jobs ran, by queue; `now` is epoch seconds."""
        mix(self.link, self._keys.pace, ran, now)

    def unshow(self, identity: str) -> None:
        """Take a process whose jobs are all back out of Sidekiq's view; a refusal does no harm, the view expires."""
        keys = self._keys
        self.link.call_many(
            [
                ("SREM", keys.processes, identity),
                ("DEL", keys.shown(identity), keys.work(identity), keys.signals(identity)),
            ]
        )

    # -- the dead

    def overdue(self, late: float) -> list[tuple[str, float]]:
        """Return (identity, seconds since its last beat) of all that are `late` seconds late, oldest first."""
        found = self._scripts.overdue(beats=self._keys.beats, late_ms=round(late * 1000), most=10_000)
        return [(name.decode(), int(ms) / 1000) for name, ms in zip(found[::2], found[1::2], strict=True)]

    def suspect(self, identity: str) -> Look:
        """Look at a heartbeat and keep the watch over it if it is missing."""
        state, *more = self._scripts.suspect(
            heartbeat=self._keys.heartbeat(identity),
            suspects=self._keys.suspects,
            identity=identity,
            gap_ms=self._gap_ms,
        )
        if state == b"alive":
            return Look("alive", counter=more[0].decode())
        return Look(state.decode(), watched_ms=int(more[0]) if more else 0)

    def condemn(self, identity: str, evidence: Evidence, counter: str = "") -> tuple[bool, str]:
        """Declare the identity dead if the evidence stands; return whether it is dead now, and its counter if not."""
        reply = self._scripts.condemn(
            heartbeat=self._keys.heartbeat(identity),
            suspects=self._keys.suspects,
            identity=identity,
            evidence=evidence.value,
            confirm_ms=round(self._config.confirm_after * 1000),
            gap_ms=self._gap_ms,
            counter=counter,
        )
        return reply[0] != b"alive", reply[1].decode() if len(reply) > 1 else ""

    def reap(self, entry: Entry, started: Collection[str], reason: str) -> Reaped:
        """Move everything that a condemned identity holds back to its queues, in bounded steps.

        `started` are the ids of the jobs whose start counts as a crash; `reason` is written into a job that is
        buried for its crashes. May be called by any number of reapers, and again after any interruption.
        """
        result = Reaped()
        counted = () if entry.stopping else tuple(started)
        for name in entry.queues:
            left = 1
            while left:
                left = self._reap_batch(entry.identity, name, counted, reason, result)
        return result

    def _reap_batch(self, identity: str, queue: str, started: Sequence[str], reason: str, result: Reaped) -> int:
        config = self._config
        reply: list[Any] = self._scripts.reap(
            heartbeat=self._keys.heartbeat(identity),
            private=self._keys.private(identity, queue),
            public=self._keys.queue(queue),
            quarantine=self._keys.quarantine(queue),
            dead=self._keys.dead,
            crashes=self._keys.crashes,
            trimmed=self._keys.stat("trimmed"),
            items=REAP_ITEMS,
            max_bytes=REAP_BYTES,
            crash_limit=config.crash_limit,
            window_s=int(config.crash_window),
            dead_limit=config.dead_limit,
            dead_for_s=int(config.dead_for),
            reason=orjson.dumps(reason),
            started=started,
        )
        if reply[0] == b"alive":
            return 0
        _, left, public, quarantined, buried = reply
        result.public += public
        result.quarantined += quarantined
        result.buried += buried
        return int(left)

    def forget(self, entry: Entry) -> bool:
        """Drop a dead identity whose last sign is old; False while something of it is left."""
        identity = entry.identity
        return bool(
            self._scripts.forget(
                heartbeat=self._keys.heartbeat(identity),
                beats=self._keys.beats,
                fleet=self._keys.fleet,
                suspects=self._keys.suspects,
                turn=self._keys.turn(identity),
                processes=self._keys.processes,
                shown=self._keys.shown(identity),
                work=self._keys.work(identity),
                signals=self._keys.signals(identity),
                private=self._private(identity, entry.queues),
                identity=identity,
                keep_ms=WALK_MS,
            )
        )

    def leftovers(self, entries: Sequence[Entry]) -> list[bool]:
        """Return of each identity whether one of its private lists holds anything."""
        commands = [("EXISTS", *self._private(entry.identity, entry.queues)) for entry in entries if entry.queues]
        found = iter(self.link.call_many(commands) if commands else [])
        # A refused question counts as yes: the sweep will say what is wrong.
        return [bool(entry.queues) and next(found) != 0 for entry in entries]

    # -- looking

    def count(self) -> int:
        """Return how many identities are in the walk, living and dead."""
        return int(self.link.call("ZCARD", self._keys.beats))

    def entry(self, identity: str) -> Entry:
        """Return the fleet's entry of an identity; when it is lost, one that names every known queue."""
        text = self.link.call("HGET", self._keys.fleet, identity)
        if text is None:
            names = sorted(name.decode() for name in self.link.call("SMEMBERS", self._keys.queues))
            return attrs.evolve(Entry.of_json(identity, None), queues=tuple(names))
        return Entry.of_json(identity, text)

    def entries(self) -> list[tuple[Entry, bool]]:
        """Return all entries of the fleet, each with whether its heartbeat is there and no verdict."""
        flat = self.link.call("HGETALL", self._keys.fleet)
        found = [Entry.of_json(name.decode(), text) for name, text in zip(flat[::2], flat[1::2], strict=True)]
        if not found:
            return []
        beats = self.link.call("MGET", *(self._keys.heartbeat(entry.identity) for entry in found))
        return [(entry, beat not in (None, FENCED)) for entry, beat in zip(found, beats, strict=True)]

    def started_by_work(self, identity: str) -> list[str]:
        """Return the ids of the jobs that the identity last said it was running, for the TTL path."""
        texts = self.link.call("HVALS", self._keys.work(identity))
        return [jid for jid in map(_jid_of_work, texts) if jid]

    def connected(self, clients: Iterable[int]) -> set[int] | None:
        """Return which of these client ids the server still lists; None where CLIENT is refused."""
        ids = list(clients)
        if not ids:
            return set()
        try:
            text = self.link.call("CLIENT", "LIST", "ID", *ids)
        except Refused:
            return None
        found = {int(part[3:]) for part in text.decode().split() if part.startswith("id=")}
        return found & set(ids)

    @property
    def shown_ms(self) -> int:
        """How long `IDENTITY:work` must live for the TTL path to find it: longer than a death takes to be proven."""
        return max(SHOWN_MS, round(3000 * (self._config.ttl + self._config.confirm_after)))

    @property
    def _ttl_ms(self) -> int:
        return round(self._config.ttl * 1000)

    @property
    def _gap_ms(self) -> int:
        # Two beats, and with short beats some looks more; but well below the confirm time, or a second outage
        # could pass for a watch without a gap.
        two_beats = 2 * self._config.beat
        return round(1000 * min(max(2.0, two_beats), max(two_beats, self._config.confirm_after / 3)))

    def _private(self, identity: str, queues: Sequence[str]) -> list[Key]:
        return [self._keys.private(identity, name) for name in queues]

    @staticmethod
    def _counter(identity: str, reply: list[bytes]) -> str:
        if reply[0] == b"fenced":
            raise Condemned(identity)
        return reply[1].decode()


def _jid_of_work(text: bytes) -> str | None:
    try:
        payload = orjson.loads(text).get("payload")
    except (orjson.JSONDecodeError, AttributeError):
        return None
    return jid_of(payload.encode()) if isinstance(payload, str) else None
