"""SIGKILL at named points of a job's life, found in the stream of commands: whoever sends the command dies there."""

from __future__ import annotations

import re
from functools import partial
from typing import Literal

from chaos.faults.base import Fault
from chaos.pods.local import LocalPod
from chaos.proxy import Command
from chaos.stage import Stage

When = Literal["before", "after", "passed"]
SETTLE = re.compile(rb"^(retry|bury|drop|release)$")
ARGS = 8
"""Arguments of `turn` before the variable ones; the last of them counts the groups of acks."""


def has_jobs(bulks: Command) -> bool:
    """Whether a reply brings jobs."""
    return any(bulk.startswith(b"{") for bulk in bulks)


def settles(command: Command, kind: bytes | None = None) -> bool:
    """Whether a turn settles anything, or anything in this way (as `release`)."""
    arguments = command[3 + int(command[2]) :]
    if kind is None and int(arguments[ARGS - 1]) > 0:
        return True
    return any(word == kind if kind else SETTLE.match(word) for word in arguments[ARGS:])


def _at(
    stage: Stage,
    name: str,
    *,
    commands: tuple[str, ...],
    when: When,
    scope: Literal["process", "pod"],
    settling: bool = False,
    claiming: bool = False,
) -> bool:
    pod = stage.busy(spare=1)
    if pod is None:
        return False
    door = stage.door(pod)
    called = door.scripts.called(*commands)

    def match(command: Command) -> bool:
        return called(command) and (not settling or settles(command))

    stage.snare(name, [door], match, when, scope, wanted=has_jobs if claiming else None)
    return True


def in_release(stage: Stage) -> bool:
    """While a pod that is told to stop at once hands back what it could not finish."""
    pod = stage.busy(spare=1)
    if not isinstance(pod, LocalPod):
        return False
    door = stage.door(pod)
    turn = door.scripts.called("turn")
    release = b"release"
    snared = "kill-in-release"
    stage.snare(snared, [door], lambda sent: turn(sent) and settles(sent, release), "after", "process", within=6.0)
    pod.hurry()
    stage.later(0.2, pod.hurry)
    return True


def at_boot(stage: Stage) -> bool:
    """When a new worker process is about to register."""
    pod = stage.busy(spare=1)
    if pod is None:
        return False
    door = stage.door(pod)
    stage.snare("kill-at-boot", [door], door.scripts.called("register"), "before", "process", within=8.0)
    with stage.killing("kill-child", pod.name, kind="child") as pids:
        pids.extend(pod.kill_child(0))
    return True


def in_sweep(stage: Stage) -> bool:
    """Kill a pod, and then the supervisor that brings its jobs back, in the middle of that; with all its processes."""
    pod = stage.busy(spare=2)
    if pod is None:
        return False
    others = [stage.door(other) for other in stage.ready() if other.replica != pod.replica]
    when: When = stage.rng.choice(("before", "after"))
    stage.snare("kill-in-sweep", others, stage.door(pod).scripts.called("reap"), when, "pod", within=8.0)
    with stage.killing("kill-pod", pod.name, kind="pod") as pids:
        pids.extend(pod.kill_all())
    return True


def in_promotion(stage: Stage) -> bool:
    """Kill the pod that moves due jobs, between two of its commands."""
    ready = stage.ready()
    if len(ready) < 2:
        return False
    doors = [stage.door(pod) for pod in ready]
    when: When = stage.rng.choice(("before", "after"))
    stage.snare("kill-in-promotion", doors, doors[0].scripts.called("promote"), when, "pod", within=10.0)
    return True


CLAIMS = ("turn", "BLMOVE")
FAULTS = (
    Fault(
        "kill-after-claim",
        partial(_at, name="kill-after-claim", commands=CLAIMS, when="after", scope="process", claiming=True),
        proxied=True,
        what="SIGKILL a worker process when Redis has moved a job into its private list and it does not know yet.",
    ),
    Fault(
        "kill-before-run",
        partial(_at, name="kill-before-run", commands=CLAIMS, when="passed", scope="process", claiming=True),
        proxied=True,
        what="SIGKILL a worker process when it has just got a job, before or at the first instruction of it.",
    ),
    Fault(
        "kill-before-settle",
        partial(_at, name="kill-before-settle", commands=("turn",), when="before", scope="process", settling=True),
        proxied=True,
        what="SIGKILL a worker process when a job is over and the turn that settles it has not arrived.",
    ),
    Fault(
        "kill-in-settle",
        partial(_at, name="kill-in-settle", commands=("turn",), when="after", scope="process", settling=True),
        proxied=True,
        what="SIGKILL a worker process when Redis has settled a job and it does not know yet.",
    ),
    Fault(
        "kill-pod-before-settle",
        partial(_at, name="kill-pod-before-settle", commands=("turn",), when="before", scope="pod", settling=True),
        proxied=True,
        what="SIGKILL a whole pod when a job is over and the turn that settles it has not arrived.",
    ),
    Fault(
        "kill-in-beat",
        partial(_at, name="kill-in-beat", commands=("beat",), when="after", scope="pod"),
        proxied=True,
        what="SIGKILL a whole pod when its heartbeat has arrived and it does not know yet.",
    ),
    Fault("kill-in-release", in_release, proxied=True, local=True),
    Fault("kill-at-boot", at_boot, frozenset({"kill-child"}), proxied=True),
    Fault("kill-in-sweep", in_sweep, frozenset({"kill-all"}), proxied=True),
    Fault("kill-in-promotion", in_promotion, proxied=True),
)
