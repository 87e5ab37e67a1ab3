"""Faults of pods and processes: killed, frozen, taken away."""

from __future__ import annotations

from chaos.faults.base import Fault
from chaos.pods.local import LocalCluster, LocalPod
from chaos.records import Harm, now
from chaos.stage import Stage


def kill_child(stage: Stage) -> bool:
    """SIGKILL one worker process."""
    pod = stage.busy()
    if pod is None:
        return False
    with stage.killing("kill-child", pod.name, kind="child") as pids:
        pids.extend(pod.kill_child(stage.rng.randrange(100)))
    return bool(pids)


def kill_pod(stage: Stage) -> bool:
    """SIGKILL everything of one pod at once."""
    pod = stage.busy(spare=1)
    if pod is None:
        return False
    with stage.killing("kill-pod", pod.name, kind="pod") as pids:
        pids.extend(pod.kill_all())
    return bool(pids)


def kill_main(stage: Stage) -> bool:
    """SIGKILL one supervisor alone: its children finish what they run, and leave."""
    pod = stage.pick(spare=1)
    if pod is None:
        return False
    with stage.killing("kill-main", pod.name, kind="main") as pids:
        pids.extend(pod.kill_main())
    return bool(pids)


def kill_children(stage: Stage) -> bool:
    """SIGKILL all worker processes of one pod, one right after the other."""
    pod = stage.busy()
    if pod is None:
        return False
    with stage.killing("kill-children", pod.name, kind="child") as pids:
        for _ in pod.children():
            pids.extend(pod.kill_child(0))
    return bool(pids)


def kill_all_pods(stage: Stage) -> bool:
    """SIGKILL every pod at the same time."""
    pods = stage.ready()
    if not pods:
        return False
    for pod in pods:
        with stage.killing("kill-all-pods", pod.name, kind="pod") as pids:
            pids.extend(pod.kill_all())
    return True


def freeze_pod(stage: Stage) -> bool:
    """SIGSTOP one pod until others have declared it dead, then SIGCONT."""
    return _freeze(stage, "freeze-pod", stage.dead_after * stage.rng.uniform(1.2, 1.8))


def freeze_briefly(stage: Stage) -> bool:
    """SIGSTOP one pod for a time in which nobody may take it for dead."""
    return _freeze(stage, "freeze-briefly", stage.dead_after * stage.rng.uniform(0.05, 0.5))


def _freeze(stage: Stage, name: str, seconds: float) -> bool:
    pod = stage.busy(spare=1)
    if pod is None:
        return False
    at = now()
    pids = pod.freeze()
    if not pids:
        return False
    harm: Harm = "held" if name == "freeze-pod" else "none"
    stage.hold(name, pod.name, harm, seconds, pod.thaw, pids=pids, at=at, cut=True)
    return True


def freeze_child(stage: Stage) -> bool:
    """SIGSTOP one worker process only: its supervisor beats on, and nothing of it may run elsewhere."""
    pod = stage.busy()
    if not isinstance(pod, LocalPod) or not (children := pod.children()):
        return False
    pid = stage.rng.choice(children)
    pod.signal((pid,), freeze=True)
    seconds = stage.dead_after * stage.rng.uniform(0.5, 1.5)
    stage.hold(
        "freeze-child", pod.name, "none", seconds, lambda: pod.signal((pid,), freeze=False), pids=(pid,), cut=True
    )
    return True


def delete_pod(stage: Stage) -> bool:
    """Take one pod away as a kubelet does: preStop, SIGTERM, grace period."""
    pod = stage.busy(spare=1)
    if pod is None:
        return False
    pod.delete(stage.cluster.grace)
    stage.log("delete-pod", pod.name, "none", pids=())
    return True


def delete_hastily(stage: Stage) -> bool:
    """Take one pod away with a grace period that is too short to stop in order."""
    pod = stage.busy(spare=1)
    if pod is None:
        return False
    pod.delete(stage.rng.uniform(0.3, 2.0))
    stage.log("delete-hastily", pod.name, "none", pids=())
    return True


def scale_down(stage: Stage) -> bool:
    """Scale to half the replicas, and back."""
    if len(stage.ready()) < 2:
        return False
    stage.cluster.scale(max(1, stage.pods // 2))
    stage.hold("scale-down", "deployment", "none", stage.rng.uniform(2, 6), lambda: stage.cluster.scale(stage.pods))
    return True


def rollout(stage: Stage) -> bool:
    """Replace all pods one by one, with the other version: old and new code run side by side."""
    if stage.cluster.rolling():
        return False
    stage.cluster.rollout_restart()
    stage.log("rollout", "deployment", "none")
    return True


def drain(stage: Stage) -> bool:
    """Evict all pods of one node."""
    pod = stage.pick(spare=stage.pods // 2)
    if pod is None:
        return False
    stage.cluster.drain(pod)
    stage.log("drain", pod.name, "none")
    return True


def full_disk(stage: Stage) -> bool:
    """Kill a pod; the next one in its place logs to a disk that is full, for a while."""
    pod = stage.pick(spare=1)
    if pod is None or not isinstance(stage.cluster, LocalCluster):
        return False
    replica = stage.cluster.replica_of(pod)
    replica.log_full = True
    with stage.killing("full-disk", pod.name, kind="pod") as pids:
        pids.extend(pod.kill_all())

    def undo() -> None:
        replica.log_full = False

    stage.later(20.0, undo)
    return True


def clock_step(stage: Stage) -> bool:
    """Set one pod's wall clock wrong by some seconds, and right again later."""
    pod = stage.pick()
    if not isinstance(pod, LocalPod):
        return False
    step = stage.rng.choice((-1, 1)) * stage.rng.uniform(2, 15)
    pod.clock.write_text(str(step), encoding="ascii")

    def undo() -> None:
        pod.clock.unlink(missing_ok=True)

    stage.hold("clock-step", pod.name, "none", stage.rng.uniform(2, 10), undo, step=step)
    return True


FAULTS = (
    Fault("kill-child", kill_child, frozenset({"kill-child"})),
    Fault("kill-children", kill_children, frozenset({"kill-child"})),
    Fault("kill-pod", kill_pod, frozenset({"kill-all"})),
    Fault("kill-main", kill_main, frozenset({"kill-main"})),
    Fault("kill-all-pods", kill_all_pods, frozenset({"kill-all"})),
    Fault("freeze-pod", freeze_pod, frozenset({"freeze"})),
    Fault("freeze-briefly", freeze_briefly, frozenset({"freeze"})),
    Fault("freeze-child", freeze_child, frozenset({"freeze"}), local=True),
    Fault("delete-pod", delete_pod, frozenset({"delete"})),
    Fault("delete-hastily", delete_hastily, frozenset({"delete"})),
    Fault("scale-down", scale_down, frozenset({"scale"})),
    Fault("rollout", rollout, frozenset({"restart"})),
    Fault("drain", drain, frozenset({"drain"})),
    Fault("full-disk", full_disk, frozenset({"kill-all"}), local=True),
    Fault("clock-step", clock_step, local=True),
)
