"""What the benchmark has to know about a queue library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Literal

import redis

from bench import environments
from bench.environments import Installed

RowName = Literal["drain-1", "drain-2", "io-50", "latency", "enqueue", "bulk", "memory", "kill-process", "kill-worker"]
ALL: frozenset[RowName] = frozenset(RowName.__args__)  # type: ignore[attr-defined]
PARKED = "bench:parked:"


class Peer(ABC):
    """One queue library: where it comes from, how its worker is started, and how one sees that all is settled.

    `mode`: its settings, in words; `reliable`: those of the rows with kills, where they are others. `keys`: where its
    jobs wait. `pace`: jobs per second that it does on a small machine, roughly; it only sizes the runs.
    """

    name: ClassVar[str]
    mode: ClassVar[str]
    reliable: ClassVar[str | None] = None
    keys: tuple[str, ...]
    pace: ClassVar[float]
    rows: ClassVar[frozenset[RowName]] = ALL - {"bulk"}
    poll: ClassVar[float] = 0.0
    """Seconds between two looks of an idle worker at its queue, for those that are not woken by the server."""
    environment: ClassVar[dict[str, str]] = {}
    """For its programs."""
    runs_jobs: ClassVar[bool] = True
    """False for what only moves them: nobody but the server can tell then that they are done."""

    def __init__(self, folder: Path, *, install: bool = True) -> None:
        """Install it below `folder`, or find it there. Raises LeftOut."""
        self.installed = self._install(folder, install=install)

    @property
    def title(self) -> str:
        """Name and version."""
        return f"{self.name} {self.installed.version}".strip()

    def _install(self, folder: Path, *, install: bool) -> Installed:
        return environments.python(self.name, folder, install=install)

    @abstractmethod
    def worker(self, *, processes: int, threads: int, url: str) -> list[list[str]]:
        """Return the commands that together are one worker, with so many processes and jobs at a time in each."""

    def producer(self) -> list[str]:
        """Return the command of the producer."""
        return [str(self.installed.program), "-m", "bench.apps.producer", f"bench.apps.{self.name}_app"]

    @abstractmethod
    def settled(self, server: redis.Redis, sent: int) -> bool:
        """Whether the server holds no job any more that is claimed or not acknowledged; `sent` were enqueued in all."""

    def shape(self, processes: int, threads: int) -> tuple[int, int]:
        """Return how many processes run jobs when so many are asked for, and how many jobs they all run at a time."""
        return processes, processes * threads

    def park(self, server: redis.Redis) -> None:
        """Put all waiting jobs aside, where no worker sees them."""
        for key in self.keys:
            server.rename(key, PARKED + key)

    def release(self, server: redis.Redis) -> None:
        """Make all parked jobs wait again, at once."""
        for key in self.keys:
            server.rename(PARKED + key, key)
