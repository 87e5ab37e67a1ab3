"""A run on this machine: a Redis of its own, a proxy before each pod, pods as process groups."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from chaos.faults.base import LOCAL, OWN_REDIS, PROXIES, needs_of
from chaos.observer import Observer
from chaos.pods.local import LocalCluster, Recipe, Replica
from chaos.proxy import Proxy, Scripts
from chaos.scenarios import Scenario
from chaos.servers import Server
from chaos.sites.base import BACKOFF, COMMAND_TIMEOUT, CONNECT_TIMEOUT, Hooks, Sizes
from chaos.sites.meter import LocalMeter

if TYPE_CHECKING:
    from chaos.conductor import Run

PASSWORDLESS = "plain on nopass ~* &* +@all -client"
"""An ACL line: a user who may do everything but CLIENT."""
GRACE = 1.0
"""Seconds that interrupted jobs have to unwind."""
CRASH_LIMIT = 3


class LocalSite:
    """Implements Site. `code` is the tree whose reliq the pods run, `old` that of old pods, if they run another."""

    driver: Literal["local", "kubectl"] = "local"
    wake_within = 30.0
    tcp = None
    offers = needs_of(LocalCluster.verbs) | {LOCAL, OWN_REDIS, PROXIES}
    cluster: LocalCluster
    server: Server
    doors: dict[str, Proxy]

    def __init__(self, scenario: Scenario, pods: int, directory: Path, code: Path, old: Path | None = None) -> None:
        self._scenario = scenario
        self._pods = pods
        self._directory = directory
        self._code = code
        self._old = old

    @property
    def sizes(self) -> Sizes:
        """As the scenario says."""
        scenario = self._scenario
        return Sizes(
            processes=scenario.processes,
            concurrency=scenario.concurrency,
            beat=scenario.beat,
            ttl=scenario.ttl,
            confirm=CONNECT_TIMEOUT + COMMAND_TIMEOUT + BACKOFF + scenario.beat,
            stop=scenario.timeout + GRACE,
        )

    @property
    def url(self) -> str:
        """By unix socket."""
        return self.server.url

    @property
    def way(self) -> str:
        """Through a door of their own."""
        return self.doors["producer"].url

    def open(self, hooks: Hooks) -> None:
        """Start Redis, and stand before it."""
        durability = self._scenario.durability
        self.server = Server(
            durable=durability != "none",
            settings={
                "appendfsync": "always" if durability == "always" else "everysec",
                "maxmemory-policy": "noeviction",
                **({} if self._scenario.client_list else {"user": PASSWORDLESS}),
            },
        )
        scripts = Scripts()
        names = [f"pod-{number + 1}" for number in range(self._pods)]
        self.doors = {name: Proxy(self.server.socket, scripts) for name in [*names, "producer"]}
        self._watch = self.observer(timeout=0.3)
        self.cluster = LocalCluster(
            [Replica(name, self._url(self.doors[name])) for name in names],
            self._recipe(),
            note=hooks.note,
            struck=hooks.struck,
            registered=self._watch.registered,
            ended=lambda pids: hooks.ended(pids, ""),
            heard=hooks.heard,
            pause=hooks.pause,
        )

    def close(self) -> None:
        """The pods first."""
        self.server.resume_if_paused()
        self.cluster.close()
        for door in self.doors.values():
            door.close()
        self._watch.close()
        self.server.close()

    def observer(self, timeout: float = 5.0) -> Observer:
        """Past all doors."""
        return Observer(timeout, unix_socket_path=str(self.server.socket))

    def version(self) -> str:
        """As the program says."""
        return self.server.version()

    def check(self) -> None:
        """Everything is ours, and as it should be."""

    def asleep(self) -> str:
        """The ends of the pods' logs."""
        return "\n" + "\n".join(
            path.read_text(errors="replace")[-2000:] for path in sorted(self._directory.glob("*.log"))
        )

    def calm(self) -> None:
        """No full disk any more; new code."""
        for replica in self.cluster.replicas:
            replica.version, replica.log_full = "new", False

    def meter(self, run: Run) -> LocalMeter:
        """All that there is to measure."""
        return LocalMeter(run, self.cluster)

    def _environment(self) -> dict[str, str]:
        values = {
            "beat": self._scenario.beat,
            "ttl": self._scenario.ttl,
            "connect_timeout": CONNECT_TIMEOUT,
            "command_timeout": COMMAND_TIMEOUT,
            "longest_backoff": BACKOFF,
            "resend_for": 4.0,
            "crash_limit": CRASH_LIMIT,
        }
        return {f"RELIQ_{name.upper()}": str(value) for name, value in values.items()}

    def _recipe(self) -> Recipe:
        scenario = self._scenario
        return Recipe(
            directory=self._directory,
            collector=f"unix:{self._directory / 'collector'}",
            environment=self._environment(),
            processes=scenario.processes,
            concurrency=scenario.concurrency,
            timeout=scenario.timeout,
            grace=GRACE,
            memory=scenario.memory,
            code=self._code,
            old=self._old,
        )

    def _url(self, door: Proxy) -> str:
        return door.url if self._scenario.client_list else door.url.replace("unix://", "unix://plain:x@")
