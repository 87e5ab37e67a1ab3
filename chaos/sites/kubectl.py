"""A run on a cluster: pods of a Deployment that is there already, on a Redis that is there already."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import attrs
import redis

from chaos.faults.base import needs_of
from chaos.observer import Observer
from chaos.pods.kubecall import Kubectl
from chaos.pods.kubectl import EVERY, KubectlCluster
from chaos.pods.kubepod import KubectlPod
from chaos.proxy import Proxy
from chaos.records import PodEvent, now
from chaos.sites.base import Hooks, Meter, Sizes, StageError
from chaos.sites.manifest import sizes

if TYPE_CHECKING:
    from chaos.conductor import Run

CLOCKS = 0.5
"""Seconds by which a clock may be off, beside the time that it takes to ask for it."""


@attrs.frozen(kw_only=True)
class Kubernetes:
    """What the command line says of a cluster."""

    deployment: str
    url: str
    """How this machine reaches the Redis that the pods use."""
    collector: tuple[str, int]
    """Where the collector listens, as the pods know it."""
    context: str = ""
    namespace: str = ""


class ClusterSite:
    """Implements Site. Asks the cluster what it is and what it allows; raises KubectlError, there and later."""

    driver: Literal["local", "kubectl"] = "kubectl"
    wake_within = 180.0
    server = None

    def __init__(self, where: Kubernetes, *, every: float = EVERY) -> None:
        self.tcp = where.collector
        self.doors: dict[str, Proxy] = {}
        self.url = self.way = where.url
        self._where = where
        self._hooks: Hooks | None = None
        self._early: list[PodEvent] = []
        self._hosts: dict[str, str] = {}
        self.cluster = KubectlCluster(
            Kubectl(context=where.context, namespace=where.namespace),
            where.deployment,
            self._note,
            struck=self._struck,
            every=every,
        )

    @property
    def offers(self) -> frozenset[str]:
        """What the account may do."""
        return needs_of(self.cluster.verbs)

    @property
    def sizes(self) -> Sizes:
        """As the Deployment says."""
        return sizes(self.cluster.template)

    def open(self, hooks: Hooks) -> None:
        """See that Redis is there, and empty: jobs of another run would be taken for this one's."""
        observer = self.observer()
        try:
            keys = observer.client.dbsize()
        except redis.RedisError as error:
            raise StageError(f"no Redis answers at {self._shown()}: {error}") from None
        finally:
            observer.close()
        if keys:
            raise StageError(
                f"the Redis at {self._shown()} holds {keys} keys, and a run needs an empty one: no pod may run, "
                "and then FLUSHDB, if nobody else uses it"
            )
        self._hooks, early = hooks, self._early
        for event in early:
            hooks.note(event)

    def close(self) -> None:
        """Give the Deployment back as it was."""
        self.cluster.close()

    def observer(self, timeout: float = 5.0) -> Observer:
        """By the same way."""
        return Observer(timeout, url=self.url)

    def version(self) -> str:
        """As it says itself."""
        observer = self.observer()
        try:
            info = observer.client.info("server")
        finally:
            observer.close()
        name = info.get("server_name", "redis")
        return f"{name} {info.get(f'{name}_version', info.get('redis_version', 'unknown'))}, on a cluster"

    def check(self) -> None:
        """See that the pods have this machine's clock: all times in the ledger are compared."""
        pod = next((pod for pod in self.cluster.pods() if pod.ready()), None)
        if not isinstance(pod, KubectlPod) or "kill-child" not in self.cluster.verbs:
            return  # whoever may run nothing in pods cannot ask them, either
        before = now()
        theirs = pod.clock()
        off = max(before - theirs, theirs - now(), 0.0)
        if off > CLOCKS:
            raise StageError(
                f"the monotonic clock of pod {pod.name} is {off:,.1f} s off this machine's: "
                "its node has to run on this machine's kernel, as those of kind do"
            )

    def asleep(self) -> str:
        """Where a cluster keeps that."""
        return f": see `kubectl get pods` and `kubectl logs deployment/{self._where.deployment}`"

    def calm(self) -> None:
        """Nothing bad was ever prepared."""

    def meter(self, run: Run) -> Meter:
        """None: the pods' files, processes and connections are out of sight."""
        del run
        return Meter()

    def _shown(self) -> str:
        return re.sub(r"//[^@/]*@", "//", self.url)

    def _note(self, event: PodEvent) -> None:
        if event.what == "start":
            self._hosts[event.pod] = event.detail["host"]
        if self._hooks is None:
            self._early.append(event)
            return
        self._hooks.note(event)
        if event.what == "end":
            # The connections of its processes have ended, and said so; unless its node is gone, too.
            self._hooks.ended(None, self._hosts[event.pod])

    def _struck(self, name: str, pod: str, pids: tuple[int, ...], at: float) -> None:
        if self._hooks is not None:
            self._hooks.struck(name, pod, pids, at)
