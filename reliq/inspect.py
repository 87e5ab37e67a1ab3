"""What operators see and do: queues, counts, the fleet."""

from __future__ import annotations

import time

import attrs

from reliq.errors import BadPayload, ConfigError
from reliq.job import check_queue, decode
from reliq.store.connection import Link
from reliq.store.opening import Store
from reliq.store.processes import Entry, Processes


@attrs.frozen
class QueueView:
    """One queue. `latency` is the age of its oldest job in seconds, None when empty or not told by the job.

    `held` counts the jobs that living processes hold of it, `orphaned` those of processes that are not alive:
    a reaper is about to bring them back.
    """

    name: str
    size: int
    latency: float | None
    paused: bool
    held: int
    orphaned: int
    quarantined: int


@attrs.frozen
class ProcessView:
    """One living worker process; `held` counts its jobs."""

    identity: str
    queues: tuple[str, ...]
    concurrency: int
    started: float
    stopping: bool
    quarantine: bool
    held: int


@attrs.frozen
class StatusView:
    """Everything at a glance."""

    processed: int
    failed: int
    scheduled: int
    retries: int
    dead: int
    queues: list[QueueView]
    processes: list[ProcessView]


class Inspector:
    """Reads the store for people. Close it when done."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keys = store.keys
        self._link: Link = store.link("inspect")
        self._processes = Processes(store, self._link)

    def status(self) -> StatusView:
        """Return counts, queues and processes. Raises StoreError."""
        keys = self._keys
        counts = self._link.call_all(
            [
                ("GET", keys.stat("processed")),
                ("GET", keys.stat("failed")),
                ("ZCARD", keys.schedule),
                ("ZCARD", keys.retry),
                ("ZCARD", keys.dead),
            ]
        )
        fleet = self._processes.entries()
        held = self._held([entry for entry, _ in fleet])
        processed, failed, scheduled, retries, dead = (int(count or 0) for count in counts)
        return StatusView(
            processed=processed,
            failed=failed,
            scheduled=scheduled,
            retries=retries,
            dead=dead,
            queues=self._queues(fleet, held),
            processes=[
                ProcessView(
                    entry.identity,
                    entry.queues,
                    entry.concurrency,
                    entry.started,
                    entry.stopping,
                    entry.quarantine,
                    sum(held[entry.identity].values()),
                )
                for entry, alive in fleet
                if alive
            ],
        )

    def queues(self) -> list[QueueView]:
        """Return all queues by name. Raises StoreError."""
        fleet = self._processes.entries()
        return self._queues(fleet, self._held([entry for entry, _ in fleet]))

    def pause(self, name: str) -> None:
        """Stop all claims from a queue; what runs goes on. Idle workers notice within two seconds."""
        self._link.call("SADD", self._keys.paused, self._known(name))

    def resume(self, name: str) -> bool:
        """Allow claims again; False if the queue was not paused."""
        return bool(self._link.call("SREM", self._keys.paused, check_queue(name)))

    def close(self) -> None:
        """Close the connection."""
        self._link.close()

    def _known(self, name: str) -> str:
        if not self._link.call("SISMEMBER", self._keys.queues, check_queue(name)):
            names = ", ".join(sorted(member.decode() for member in self._link.call("SMEMBERS", self._keys.queues)))
            raise ConfigError(f"there is no queue {name!r}; known are: {names or 'none yet'}")
        return name

    def _queues(self, fleet: list[tuple[Entry, bool]], held: dict[str, dict[str, int]]) -> list[QueueView]:
        keys = self._keys
        members, paused = self._link.call_all([("SMEMBERS", keys.queues), ("SMEMBERS", keys.paused)])
        names = sorted({member.decode() for member in members} | {name for entry, _ in fleet for name in entry.queues})
        views = []
        for name in names:
            size, oldest, quarantined = self._link.call_all(
                [("LLEN", keys.queue(name)), ("LINDEX", keys.queue(name), -1), ("LLEN", keys.quarantine(name))]
            )
            views.append(
                QueueView(
                    name=name,
                    size=size,
                    latency=_age(oldest),
                    paused=name.encode() in paused,
                    held=sum(held[entry.identity].get(name, 0) for entry, alive in fleet if alive),
                    orphaned=sum(held[entry.identity].get(name, 0) for entry, alive in fleet if not alive),
                    quarantined=quarantined,
                )
            )
        return views

    def _held(self, entries: list[Entry]) -> dict[str, dict[str, int]]:
        pairs = [(entry.identity, name) for entry in entries for name in entry.queues]
        lengths = self._link.call_all([("LLEN", self._keys.private(identity, name)) for identity, name in pairs])
        held: dict[str, dict[str, int]] = {entry.identity: {} for entry in entries}
        for (identity, name), length in zip(pairs, lengths, strict=True):
            held[identity][name] = length
        return held


def _age(payload: bytes | None) -> float | None:
    if payload is None:
        return None
    try:
        enqueued_at = decode(payload).enqueued_at
    except BadPayload:
        return None
    return None if enqueued_at is None else max(0.0, time.time() - enqueued_at)
