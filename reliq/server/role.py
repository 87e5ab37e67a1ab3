"""Role: what a worker process is started as."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from reliq.config import WorkerConfig
from reliq.store.processes import Entry


@attrs.frozen(kw_only=True)
class Role:
    """What the supervisor hands to a child.

    `url` overrules the application's own, `default_url` counts only if it has none; `settings` are the fields of
    Config that the command line, the environment or a file gave.
    """

    worker: WorkerConfig
    version: str
    url: str | None = None
    default_url: str | None = None
    settings: Mapping[str, Any] = attrs.Factory(dict)
    quarantine: bool = False

    @property
    def concurrency(self) -> int:
        """Jobs at a time; in the quarantine each job runs alone."""
        return 1 if self.quarantine else self.worker.concurrency

    @property
    def prefetch(self) -> float:
        """Seconds of work to claim ahead; in the quarantine none."""
        return 0.0 if self.quarantine else self.worker.prefetch

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues by name, in the order given."""
        return tuple(queue.name for queue in self.worker.queues)

    def entry(self, identity: str, host: str, pid: int, started: float) -> Entry:
        """Return the fleet's entry of a process in this role; `started` is epoch seconds."""
        return Entry(
            identity=identity,
            host=host,
            pid=pid,
            queues=self.queues,
            started=started,
            concurrency=self.concurrency,
            quarantine=self.quarantine,
            superfetch=self.worker.superfetch,
            version=self.version,
        )
