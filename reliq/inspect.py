"""What operators see and do: queues, counts, the fleet."""

from __future__ import annotations

import attrs

from reliq.errors import ConfigError
from reliq.job import check_queue
from reliq.store.connection import Link
from reliq.store.opening import Store
from reliq.survey import ProcessState, QueueState, Surveyor


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
        self._keys = store.keys
        self._link: Link = store.link("inspect")
        self._surveyor = Surveyor(store)

    def status(self) -> StatusView:
        """Return counts, queues and processes. Raises StoreError."""
        survey = self._surveyor.survey()
        return StatusView(
            processed=survey.processed,
            failed=survey.failed,
            scheduled=survey.scheduled,
            retries=survey.retries,
            dead=survey.dead,
            queues=[_queue_view(state) for state in survey.queues],
            processes=[_process_view(state) for state in survey.processes if state.alive],
        )

    def queues(self) -> list[QueueView]:
        """Return all queues by name. Raises StoreError."""
        return [_queue_view(state) for state in self._surveyor.survey().queues]

    def pause(self, name: str) -> None:
        """Stop all claims from a queue; what runs goes on. Idle workers notice within two seconds."""
        self._link.call("SADD", self._keys.paused, self._known(name))

    def resume(self, name: str) -> bool:
        """Allow claims again; False if the queue was not paused."""
        return bool(self._link.call("SREM", self._keys.paused, check_queue(name)))

    def close(self) -> None:
        """Close the connections."""
        self._link.close()
        self._surveyor.close()

    def _known(self, name: str) -> str:
        if not self._link.call("SISMEMBER", self._keys.queues, check_queue(name)):
            names = ", ".join(sorted(member.decode() for member in self._link.call("SMEMBERS", self._keys.queues)))
            raise ConfigError(f"there is no queue {name!r}; known are: {names or 'none yet'}")
        return name


def _queue_view(state: QueueState) -> QueueView:
    return QueueView(
        name=state.name,
        size=state.waiting,
        latency=state.oldest,
        paused=state.paused,
        held=state.held,
        orphaned=state.orphaned,
        quarantined=state.quarantined,
    )


def _process_view(state: ProcessState) -> ProcessView:
    entry = state.entry
    return ProcessView(
        identity=entry.identity,
        queues=entry.queues,
        concurrency=entry.concurrency,
        started=entry.started,
        stopping=entry.stopping,
        quarantine=entry.quarantine,
        held=state.held,
    )
