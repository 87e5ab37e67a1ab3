"""What the conductor asks of the place where a run is played. `local` and `kubectl` implement it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal, Protocol

import attrs

from chaos.observer import Observer
from chaos.pods.base import Cluster, Note, Struck
from chaos.proxy import Proxy
from chaos.servers import Server

if TYPE_CHECKING:
    from chaos.conductor import Run

COMMAND_TIMEOUT, CONNECT_TIMEOUT, BACKOFF = 0.8, 0.8, 0.4
"""Seconds: what producers are given, and the pods of this machine."""


class StageError(Exception):
    """The run could not be set up: nothing can be said about reliq."""


@attrs.frozen(kw_only=True)
class Sizes:
    """How the pods are set up: what the bounds follow from. Times are seconds, as in Settings."""

    processes: int
    concurrency: int
    beat: float
    ttl: float
    confirm: float
    stop: float


@attrs.frozen(kw_only=True)
class Hooks:
    """Whom a site tells what it sees of its pods, and whom it asks."""

    note: Note
    struck: Struck
    ended: Callable[[Iterable[int] | None, str], None]
    """Told of dead processes, as Collector.processes_ended."""
    heard: Callable[[], Iterable[int]]
    """Gives the processes from whose jobs something was heard."""
    pause: Callable[[], float]
    """Says how many seconds a dead pod's replica stays empty."""


class Meter:
    """Measures what only the pods' own machine shows, at three moments. This one is elsewhere, and measures nothing."""

    idle: tuple[float, float] | None = None
    descriptors: dict[int, tuple[int, int]] | None = None
    connections: tuple[int, int] | None = None
    processes: list[str] | None = None

    def before(self) -> None:
        """Measure the one pod that is there, and has nothing to do yet."""

    def resting(self) -> None:
        """Measure the last pod, which has nothing left to do."""

    def after(self) -> None:
        """Measure what is left when all pods have gone."""


class Site(Protocol):
    """Made without any effect; it is there from `open` to `close`."""

    driver: Literal["local", "kubectl"]
    wake_within: float
    """Seconds that pods have to come up."""

    @property
    def tcp(self) -> tuple[str, int] | None:
        """Where the collector has to listen besides its unix socket."""

    @property
    def offers(self) -> frozenset[str]:
        """What faults may need (chaos.faults.base) and is there."""

    @property
    def sizes(self) -> Sizes:
        """How its pods are set up. Raises StageError if nobody can tell."""

    @property
    def cluster(self) -> Cluster:
        """The pods."""

    @property
    def server(self) -> Server | None:
        """The Redis, if it is ours to break."""

    @property
    def doors(self) -> dict[str, Proxy]:
        """What stands before Redis: for each replica by its name, and for the `producer`. May be empty."""

    @property
    def url(self) -> str:
        """Redis itself."""

    @property
    def way(self) -> str:
        """The producers' way to it."""

    def open(self, hooks: Hooks) -> None:
        """Prepare everything but the pods. Raises StageError."""

    def close(self) -> None:
        """End the pods and all that was prepared."""

    def observer(self, timeout: float = 5.0) -> Observer:
        """Return another connection to Redis that only looks. Close it."""

    def version(self) -> str:
        """Return what the Redis says that it is."""

    def check(self) -> None:
        """Look at the first pod that is ready. Raises StageError if a run with it could not be judged."""

    def asleep(self) -> str:
        """Say where to look when pods do not come up."""

    def calm(self) -> None:
        """Prepare nothing bad any more for the pods that start from now on."""

    def meter(self, run: Run) -> Meter:
        """Return what measures this run."""
