"""Pods on a real cluster, by the program kubectl. One thread makes all calls.

A pod here is one run of the worker's container. One that the kubelet starts again in the same Kubernetes pod is a new
pod of the same replica: POD, then POD-1, POD-2. Process ids are those inside the container, which jobs report as their
own. Two pods may have the same ones: they say something only together with `replica`, the host in an identity.

What differs from a pod on this machine:
- A container ends with its main process. `kill_main` therefore hits everything in it.
- The kubelet starts a killed container again in the same Kubernetes pod: the first time at once, then after 10 s, 20 s,
  and so on to 5 minutes (CrashLoopBackOff). `kill_all` also deletes the Kubernetes pod, so that the Deployment starts
  another one without that pause.
- `--grace-period=0 --force` is no kill: the kubelet still sends SIGTERM, and waits for two seconds. `kill_all` and
  `kill_main` kill from inside the container; chaos.pods.inside says what that takes.
- What is noted is noted when it was seen: up to a second and one call late. That the grace period was over and ended it
  (`kill`), nobody sees: it is inferred from a pod that ended then, and not of its own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import attrs

from chaos.pods.base import Note, Pod, Struck, Verb
from chaos.pods.kubecall import Background, Kubectl, KubectlError, failed
from chaos.pods.kubepod import KubectlPod, Reach
from chaos.pods.podstate import End, PodState, pod_states
from chaos.records import now

EVERY = 1.0
"""Seconds between two looks at the list of pods, or at the processes of one."""

PATIENCE = 30.0
"""Seconds for which the list may fail before that is an error: an API server may be restarted."""

LATE = 30.0
"""Seconds beyond the grace period in which a pod must be gone."""

Key = tuple[str, int]
"""A pod: uid of the Kubernetes pod, number of the run of its container."""


@attrs.frozen
class Deployment:
    """What there is to know of the Deployment, as it was found."""

    selector: str
    replicas: int
    shared: bool
    """Whether the containers of a pod share one pid namespace."""
    grace: float
    template: Mapping[str, Any]
    """The worker's container."""


class KubectlCluster:
    """The pods of one Deployment. Raises KubectlError, here and everywhere: one line that says what to do.

    `note` is called with each moment of each pod, `struck` as that of LocalCluster. `every` is the time between two
    looks, in seconds.
    """

    def __init__(
        self,
        kubectl: Kubectl,
        deployment: str,
        note: Note,
        *,
        struck: Struck | None = None,
        container: str = "worker",
        python: str = "python3",
        every: float = EVERY,
    ) -> None:
        self._kubectl = kubectl
        self._name = f"deployment/{deployment}"
        self._container = container
        self._every = every
        self._found = _deployment(kubectl.read("get", self._name), container)
        self.verbs: frozenset[Verb] = frozenset(self._verbs())
        self._reach = Reach(
            kubectl=kubectl,
            container=container,
            python=python,
            note=note,
            struck=struck,
            every=every,
            refresh=self._refresh,
        )
        self._pods: dict[Key, KubectlPod] = {}
        self._listed: list[PodState] = []
        self._drains: dict[str, Background] = {}
        self._looked_at = self._answered_at = -math.inf
        self._asked_at = 0.0
        self._refresh()

    @property
    def grace(self) -> float:
        """The grace period of the pod template."""
        return self._found.grace

    @property
    def template(self) -> Mapping[str, Any]:
        """The container of the pod template that runs the worker, as the API describes it."""
        return self._found.template

    def everything(self) -> list[Pod]:
        """The same as `pods`: of a container that has ended nothing lives."""
        return self.pods()

    def pods(self) -> list[Pod]:
        """Return the pods whose container runs, oldest first; those that are being deleted, too."""
        self._refresh()
        pods = [self._pods.get((state.uid, state.restarts)) for state in self._listed]
        return [pod for pod in pods if pod is not None and not pod.over]

    def tick(self) -> None:
        """Look at the pods if it is time, and open drained nodes again. Mostly returns at once.

        Raises KubectlError when the list has failed for PATIENCE seconds, and for a failed drain.
        """
        self._refresh()
        for node, drain in list(self._drains.items()):
            answer = drain.poll()
            if answer is not None:
                del self._drains[node]
                self._kubectl.run("uncordon", node)
                if answer.code:
                    raise failed("drain", answer)

    def scale(self, replicas: int) -> None:
        """Have so many pods from now on."""
        self._kubectl.run("scale", self._name, f"--replicas={replicas}")

    def rollout_restart(self) -> None:
        """Replace all pods one by one, as the Deployment's strategy says. Goes on in the background."""
        self._kubectl.run("rollout", "restart", self._name)

    def rolling(self) -> bool:
        """Whether a rollout is under way."""
        return "successfully rolled out" not in self._kubectl.run("rollout", "status", self._name, "--watch=false").out

    def drain(self, pod: Pod) -> None:
        """Evict this Deployment's pods, and no others, from the node of this one; `tick` then opens the node again."""
        node = next((state.node for state in self._listed if state.name == pod.replica), "")
        if not node or node in self._drains:
            return
        self._drains[node] = self._kubectl.start(
            "drain",
            node,
            "--ignore-daemonsets",
            "--delete-emptydir-data",
            "--force",
            f"--pod-selector={self._found.selector}",
            f"--timeout={math.ceil(self._found.grace + LATE)}s",
        )

    def close(self) -> None:
        """Thaw, open nodes, and give the Deployment the replicas that it was found with.

        Returns when no more pods than that are left. Raises KubectlError if they do not go.
        """
        with ExitStack() as last:  # from the bottom up, each whatever became of the others
            last.callback(self._await_end)
            last.callback(self.scale, self._found.replicas)
            for node, drain in self._drains.items():
                last.callback(self._kubectl.run, "uncordon", node)
                last.callback(drain.end)
            for pod in self._reach.frozen:
                last.callback(pod.thaw)
        self._drains.clear()

    # -- looking

    def _refresh(self) -> None:
        if now() - self._looked_at <= self._every:
            return
        self._looked_at = now()
        try:
            answer = self._kubectl.read("get", "pods", f"--selector={self._found.selector}")
            self._listed = pod_states(answer, self._container)
        except KubectlError:
            if now() - self._answered_at > PATIENCE:
                raise
            return  # the last list serves a little longer
        self._answered_at = now()
        self._reach.since, self._asked_at = self._asked_at, self._looked_at
        for state in self._listed:
            self._take(state)
        listed = {state.uid for state in self._listed}
        for (uid, _), pod in self._pods.items():
            if uid not in listed:
                pod.ended(End(None, "no longer listed"))

    def _take(self, state: PodState) -> None:
        for (uid, number), pod in self._pods.items():
            if uid == state.uid and number < state.restarts:
                pod.ended(state.ends.get(number, End(None, "restarted")))
        key, end = (state.uid, state.restarts), state.ends.get(state.restarts)
        if state.phase in ("Succeeded", "Failed"):
            known = end or End(None, state.phase)
            end = attrs.evolve(known, reason=state.reason or known.reason)  # evicted, say: the pod knows why
        if key not in self._pods:
            if not state.running:
                return
            self._pods[key] = KubectlPod(state, self._reach)
        self._pods[key].saw(state)
        if end is not None:
            self._pods[key].ended(end)

    def _await_end(self) -> None:
        until = now() + self._found.grace + LATE
        while True:
            self._looked_at = -math.inf
            self._refresh()
            left = [state.name for state in self._listed if state.phase not in ("Succeeded", "Failed")]
            if len(left) <= self._found.replicas:
                return
            if now() > until:
                raise KubectlError(f"pods that do not end: {', '.join(left)}: see `kubectl describe pod {left[0]}`")
            time.sleep(self._every)

    def _verbs(self) -> set[Verb]:
        """Ask what this account may do; from inside a container, only a shared pid namespace lets one kill it all."""
        allows = self._kubectl.allows
        deletes, executes = allows("delete", "pods"), allows("create", "pods", "exec")
        asked: dict[Verb, bool] = {
            "delete": deletes,
            "delete-now": deletes,
            "kill-child": executes,
            "kill-main": executes and self._found.shared,
            "freeze": executes and self._found.shared,
            "kill-all": executes and self._found.shared and deletes,
            "scale": allows("patch", "deployments.apps", "scale"),
            "restart": allows("patch", "deployments.apps"),
            "drain": allows("patch", "nodes") and allows("create", "pods", "eviction"),
        }
        return {verb for verb, allowed in asked.items() if allowed}


def _deployment(answer: Mapping[str, Any], container: str) -> Deployment:
    try:
        spec = answer["spec"]
        template = spec["template"]["spec"]
        return Deployment(
            selector=",".join(f"{name}={value}" for name, value in spec["selector"]["matchLabels"].items()),
            replicas=int(spec.get("replicas", 1)),
            shared=bool(template.get("shareProcessNamespace", False)),
            grace=float(template.get("terminationGracePeriodSeconds", 30)),
            template=next((one for one in template.get("containers", ()) if one["name"] == container), {}),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise KubectlError(f"kubectl get printed a Deployment that cannot be read: {error!r}") from None
