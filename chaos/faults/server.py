"""Faults of Redis itself."""

from __future__ import annotations

import redis

from chaos.faults.base import Fault
from chaos.records import Harm, now
from chaos.stage import Stage


def restart(stage: Stage) -> bool:
    """SIGKILL Redis, and start it again on its append-only file a moment later."""
    return _kill(stage, "redis-restart", "none" if stage.durability == "always" else "undone")


def outage(stage: Stage) -> bool:
    """Redis is down for longer than the TTL, and comes back with everything: nobody may be taken for dead."""
    harm: Harm = "none" if stage.durability == "always" else "undone"
    return _kill(stage, "redis-outage", harm, seconds=stage.dead_after * stage.rng.uniform(0.6, 1.2))


def restart_empty(stage: Stage) -> bool:
    """SIGKILL Redis, and start it again with nothing: whatever was in it is lost, and reliq cannot help it."""
    return _kill(stage, "redis-empty", "undone", empty=True)


def _kill(stage: Stage, name: str, harm: Harm, *, seconds: float | None = None, empty: bool = False) -> bool:
    if stage.redis_held:
        return False
    assert stage.server is not None
    began = now()
    stage.server.kill()
    if empty:
        stage.server.wipe()
    seconds = stage.rng.uniform(0.1, 1.5) if seconds is None else seconds
    stage.hold(name, "redis", harm, seconds, stage.server.start, outage=True, at=began, all=empty)
    return True


def freeze(stage: Stage) -> bool:
    """SIGSTOP Redis for longer than the TTL: nobody may be taken for dead."""
    return _freeze(stage, "redis-freeze", stage.dead_after * stage.rng.uniform(0.8, 1.3))


def stall(stage: Stage) -> bool:
    """SIGSTOP Redis for a moment, as when a slow script or a fork holds it up."""
    return _freeze(stage, "redis-stall", stage.rng.uniform(0.1, 0.6))


def _freeze(stage: Stage, name: str, seconds: float) -> bool:
    if stage.redis_held:
        return False
    assert stage.server is not None
    stage.server.pause()
    stage.hold(name, "redis", "none", seconds, stage.server.resume, outage=True)
    return True


def script_flush(stage: Stage) -> bool:
    """SCRIPT FLUSH: Redis forgets all scripts."""
    return _tell(stage, "script-flush", "SCRIPT", "FLUSH")


def client_kill(stage: Stage) -> bool:
    """CLIENT KILL: Redis ends all connections of all clients."""
    return _tell(stage, "client-kill", "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def _tell(stage: Stage, name: str, *command: str) -> bool:
    if stage.redis_held:
        return False
    try:
        stage.observer.client.execute_command(*command)  # type: ignore[no-untyped-call]
    except redis.RedisError:
        return False
    stage.log(name, "redis", "none")
    return True


def full(stage: Stage) -> bool:
    """Redis is at its maxmemory: enqueue is refused, everything else goes on."""

    def undo() -> None:
        _configure(stage, "0")

    if stage.redis_held or not _configure(stage, "1"):
        return False
    stage.hold("redis-full", "redis", "none", stage.rng.uniform(1, 4), undo)
    return True


def _configure(stage: Stage, size: str) -> bool:
    return bool(stage.observer.client.config_set("maxmemory", size))


def read_only(stage: Stage) -> bool:
    """Redis becomes a read-only replica for a while, as after a fail-over that this one lost."""

    def undo() -> None:
        stage.observer.client.replicaof("NO", "ONE")

    if stage.redis_held:
        return False
    stage.observer.client.replicaof("127.0.0.1", 1)  # nobody answers there
    stage.hold("redis-read-only", "redis", "none", stage.rng.uniform(0.5, 2.5), undo, outage=True)
    return True


FAULTS = (
    Fault("redis-restart", restart, redis=True),
    Fault("redis-outage", outage, redis=True),
    Fault("redis-empty", restart_empty, redis=True),
    Fault("redis-freeze", freeze, redis=True),
    Fault("redis-stall", stall, redis=True),
    Fault("script-flush", script_flush, redis=True),
    Fault("client-kill", client_kill, redis=True),
    Fault("redis-full", full, redis=True),
    Fault("redis-read-only", read_only, redis=True),
)
