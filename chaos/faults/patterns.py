"""Faults in company: several pods, in an order that hurts."""

from __future__ import annotations

from functools import partial

from chaos.faults.base import Fault
from chaos.faults.connections import hold_all
from chaos.pods.base import Pod
from chaos.stage import Stage


def swizzle(stage: Stage) -> bool:
    """Cut pods off one by one, and let them back in another order."""
    pods = stage.ready()
    if len(pods) < 2:
        return False
    down = stage.rng.sample(pods, stage.rng.randint(2, len(pods)))
    step = stage.dead_after / 3
    back = stage.rng.sample(range(len(down)), len(down))
    for place, pod in enumerate(down):
        stage.later(step * place, partial(_cut_off, stage, pod, step * (len(down) - place + 1 + back[place])))
    return True


def _cut_off(stage: Stage, pod: Pod, seconds: float) -> None:
    door = stage.door(pod)
    door.freeze()
    whom = pod.name, door, pod.members()
    hold_all(stage, "swizzle", whom, "held", seconds=seconds, undo=door.thaw, cut=True)


def cascade(stage: Stage) -> bool:
    """Kill a pod, then whoever begins to bring its jobs back, then whoever does that for those."""
    ready = stage.ready()
    if len(ready) < 4:
        return False
    first, *others = stage.rng.sample(ready, len(ready))
    doors = [stage.door(pod) for pod in others]
    # Two snares over different doors, so that the second waits for the heirs of the first.
    half = len(doors) // 2
    for some in (doors[:half], doors[half:]):
        stage.snare("cascade", some, doors[0].scripts.called("reap"), "after", "pod", within=12.0)
    with stage.killing("cascade", first.name, kind="pod") as pids:
        pids.extend(first.kill_all())
    return True


def synchronised(stage: Stage) -> bool:
    """One worker process of every pod dies at the same command: the next turn that each sends."""
    ready = stage.ready()
    if len(ready) < 2:
        return False
    for pod in ready:
        door = stage.door(pod)
        stage.snare("synchronised", [door], door.scripts.called("turn"), "after", "process")
    return True


FAULTS = (
    Fault("swizzle", swizzle, proxied=True),
    Fault("cascade", cascade, frozenset({"kill-all"}), proxied=True),
    Fault("synchronised", synchronised, proxied=True),
)
