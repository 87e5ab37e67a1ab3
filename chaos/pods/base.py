"""What a fault may ask of pods, wherever they live. `local` and `kubectl` implement it.

A pod is one supervisor with all its processes. A cluster is a Deployment: it keeps a number of pods alive and starts
a new one for each that ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from chaos.records import PodEvent

Verb = Literal[
    "kill-all", "kill-main", "kill-child", "delete", "delete-now", "freeze", "scale", "restart", "drain", "exec-stop"
]
"""What a cluster may be able to do; a scenario that needs more than the cluster can is refused before it starts."""


Note = Callable[[PodEvent], None]
"""Told of each moment of each pod."""

Struck = Callable[[str, str, tuple[int, ...], float], None]
"""Told of a death that nobody armed: its name, the pod, the processes as far as they are known, and since when they may
be dead.
"""


class Pod(Protocol):
    """One start of one replica. Every method returns at once unless it says otherwise."""

    name: str
    """REPLICA-INCARNATION, as `pod-1-3`, or the cluster's own name: unique for each start."""
    replica: str
    """The replica that it is a start of, as `pod-1`; the same as `name` where replicas have no names."""
    host: str
    """The host's name in the identities of its processes, if no other replica has the same; else empty.

    On one machine process ids alone tell whose a process is; where each pod counts its own, they do it with this only.
    """

    def running(self) -> bool:
        """Whether its main process lives."""

    def ready(self) -> bool:
        """Whether it lives and its worker processes have registered."""

    def exit_code(self) -> int | None:
        """Return the code with which its main process ended (negative: a signal), None while it runs."""

    def members(self) -> tuple[int, ...]:
        """Process ids of all its living processes, as jobs report their own; empty where they cannot be known."""

    def children(self) -> tuple[int, ...]:
        """Process ids of its living worker processes, likewise."""

    def kill_all(self) -> tuple[int, ...]:
        """SIGKILL everything at once, as when the node dies; return the processes it hit. They are dead on return."""

    def kill_main(self) -> tuple[int, ...]:
        """SIGKILL the main process only."""

    def kill_child(self, index: int) -> tuple[int, ...]:
        """SIGKILL one worker process, number `index` modulo how many there are."""

    def delete(self, grace: float) -> None:
        """Take it away as a kubelet does: the preStop command, SIGTERM, and SIGKILL to all `grace` seconds after the
        beginning. Goes on in the background.
        """

    def freeze(self) -> tuple[int, ...]:
        """SIGSTOP everything; return the processes it hit."""

    def thaw(self) -> None:
        """SIGCONT everything."""


class Cluster(Protocol):
    """The pods of one Deployment."""

    verbs: frozenset[Verb]

    @property
    def grace(self) -> float:
        """Seconds that a pod is given to end in order, unless somebody says otherwise."""

    def pods(self) -> list[Pod]:
        """Return the pods that run, in the order of their replicas."""

    def everything(self) -> Sequence[Pod]:
        """Return the pods of which something lives, also those that are going."""

    def tick(self) -> None:
        """Do what is due: start replacements, go on with deletions, note what ended. Some twenty times a second."""

    def scale(self, replicas: int) -> None:
        """Have so many pods from now on."""

    def rollout_restart(self) -> None:
        """Replace all pods one by one, a new one first. Goes on in the background."""

    def rolling(self) -> bool:
        """Whether that is under way."""

    def drain(self, pod: Pod) -> None:
        """Evict everything from the node this pod is on, and let it come back elsewhere."""

    def close(self) -> None:
        """End everything that it started; returns when all is dead."""
