"""Faults of the way between a pod, or the producers, and Redis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chaos.faults.base import Fault
from chaos.proxy import Proxy
from chaos.records import Harm
from chaos.stage import Stage

LOSABLE = (
    "turn",
    "BLMOVE",
    "beat",
    "register",
    "reconcile",
    "reap",
    "condemn",
    "suspect",
    "overdue",
    "promote",
    "lease",
    "leave",
    "forget",
    "fence",
    "show",
    "show_work",
    "enqueue",
    "schedule",
    "CLIENT ID",
    "CLIENT UNBLOCK",
    "CLIENT KILL",
    "CLIENT LIST",
    "EXISTS",
    "HGET",
    "INFO",
    "PING",
    "SCRIPT LOAD",
)
"""Every command that reliq sends; docs/protocol.md lists the scripts."""


def cut(stage: Stage) -> bool:
    """End all connections of one pod at once; it may come back immediately."""
    name, door, pids = _somebody(stage)
    if door is None:
        return False
    door.cut()
    stage.log("cut", name, "none", pids=pids)
    for other in stage.beside(name, door):
        stage.log("cut", other.name, "none", pids=other.members())
    return True


def delay(stage: Stage) -> bool:
    """Let every command and every reply of one pod take some milliseconds longer."""
    name, door, pids = _somebody(stage)
    if door is None:
        return False
    door.delay = stage.rng.uniform(0.005, 0.08)
    seconds = stage.rng.uniform(2, 6)

    def undo() -> None:
        door.delay = 0.0

    hold_all(stage, "delay", (name, door, pids), "none", seconds=seconds, undo=undo, slow=True, each=door.delay)
    return True


def half_open(stage: Stage) -> bool:
    """Nothing flows any more between one pod and Redis, and nobody is told, until it may be declared dead."""
    return _stop_flow(stage, "half-open", lambda door: door.freeze())


def half_open_briefly(stage: Stage) -> bool:
    """The same, for a time in which nobody may take it for dead."""
    return _stop_flow(stage, "half-open-briefly", lambda door: door.freeze(), briefly=True)


def one_way_out(stage: Stage) -> bool:
    """Commands of one pod arrive, and no reply comes back."""
    return _stop_flow(stage, "one-way-out", lambda door: door.freeze(commands=False))


def one_way_in(stage: Stage) -> bool:
    """Replies reach one pod, but no new command arrives."""
    return _stop_flow(stage, "one-way-in", lambda door: door.freeze(replies=False))


def refused(stage: Stage) -> bool:
    """One pod loses its connections, and cannot make new ones, until it may be declared dead."""

    def shut(door: Proxy) -> None:
        door.refuse()
        door.cut()

    return _stop_flow(stage, "refused", shut)


def lose_reply(stage: Stage) -> bool:
    """Redis applies a command, and its sender never hears of it. Which command: each in turn."""
    return _lose(stage, "drop")


def late_command(stage: Stage) -> bool:
    """A command whose sender has given up on it arrives a second later, and is applied."""
    return _lose(stage, "hold")


def _lose(stage: Stage, kind: str) -> bool:
    name, door, _ = _somebody(stage, producers=True, spare=0)
    if door is None:
        return False
    # The one that was lost least often, of those that this door has seen.
    seen = [command for command in stage.lose_only or LOSABLE if door.seen[command]]
    if not seen:
        return False
    lost = sum((other.dropped for other in stage.doors.values()), start=type(door.dropped)())
    command = min(seen, key=lambda one: (lost[one], stage.rng.random()))
    stage.lose("drop" if kind == "drop" else "hold", door, name, door.scripts.called(command))
    return True


def _somebody(stage: Stage, *, producers: bool = False, spare: int = 1) -> tuple[str, Proxy | None, tuple[int, ...]]:
    if producers and stage.rng.random() < 0.2:
        return "producer", stage.doors["producer"], ()
    pod = stage.busy(spare=spare)
    return ("", None, ()) if pod is None else (pod.name, stage.door(pod), pod.members())


def hold_all(
    stage: Stage,
    name: str,
    whom: tuple[str, Proxy, tuple[int, ...]],
    harm: Harm,
    *,
    seconds: float,
    undo: Callable[[], None],
    **detail: Any,
) -> None:
    """Log it for the pod that was meant, and for one that is leaving or coming in the same place, by the same door."""
    target, door, pids = whom
    others = stage.beside(target, door)
    stage.hold(name, target, harm, seconds, undo, pids=pids, **detail)
    for other in others:
        stage.hold(name, other.name, harm, seconds, lambda: None, pids=other.members(), **detail)


def _stop_flow(stage: Stage, name: str, stop: Callable[[Proxy], None], *, briefly: bool = False) -> bool:
    target, door, pids = _somebody(stage)
    if door is None:
        return False
    share = stage.rng.uniform(0.05, 0.4) if briefly else stage.rng.uniform(1.1, 1.7)
    stop(door)

    def undo() -> None:
        door.thaw()
        door.accept()

    harm: Harm = "none" if briefly else "held"
    hold_all(stage, name, (target, door, pids), harm, seconds=stage.dead_after * share, undo=undo, cut=True)
    return True


FAULTS = (
    Fault("cut", cut, proxied=True),
    Fault("delay", delay, proxied=True),
    Fault("half-open", half_open, proxied=True),
    Fault("half-open-briefly", half_open_briefly, proxied=True),
    Fault("one-way-out", one_way_out, proxied=True),
    Fault("one-way-in", one_way_in, proxied=True),
    Fault("refused", refused, proxied=True),
    Fault("lose-reply", lose_reply, proxied=True),
    Fault("late-command", late_command, proxied=True),
)
