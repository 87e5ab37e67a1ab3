"""What becomes of jobs whose worker is killed: how many are lost, and when the others run again."""

from __future__ import annotations

import os
import secrets
import signal
import statistics
import time
from collections.abc import Iterator
from typing import Any

import redis

from bench.stage import STARTING, Stage

LOOK = 0.05
"""Seconds between two looks for further runs; when they start is told by the jobs themselves."""


def kill(stage: Stage, *, whole: bool) -> dict[str, float]:
    """Kill what runs ten jobs while another worker is idle: the process that runs them, or the `whole` worker.

    Shares of the jobs, in percent: `lost` are those that did not run again and of which nothing is left in the server,
    `kept` those that did not run again within the patience but are somewhere in it. `recovery`: the median of the
    seconds from the kill to the next start of the others.
    """
    count = stage.peer.shape(1, 10)[1]
    tokens = [f"held-{secrets.token_hex(6)}" for _ in range(count)]
    with stage.producer() as producer, stage.worker() as victim:
        stage.warm(victim, producer)
        for token in tokens:
            producer.order("one", "hold", args=[token])
        stage.wait(lambda: len(stage.lines("holds")) == count, STARTING, f"{count} jobs run at a time", victim)
        with stage.worker() as survivor:
            stage.warm(survivor, producer, finish=False)
            time.sleep(stage.sizes.steady)
            killed = time.monotonic_ns()
            if whole:
                victim.kill()
            else:
                for pid in {int(pid) for _, pid, _ in stage.lines("holds")}:
                    os.kill(pid, signal.SIGKILL)
            again = _wait(stage, count, killed)
            left = b"\n".join(_everything(stage.place.client))
            (stage.folder / "end").touch()
    missing = [token.encode() for token in tokens if token not in again]
    lost = sum(token not in left for token in missing)
    found = {"lost": 100 * lost / count, "kept": 100 * (len(missing) - lost) / count}
    if again:
        found["recovery"] = statistics.median(again.values())
    return found


def _wait(stage: Stage, count: int, killed: int) -> dict[str, float]:
    """Return the seconds from the kill to the next start, by token, of the jobs that started within the patience."""
    until = time.monotonic() + stage.sizes.patience
    while True:
        again: dict[str, float] = {}
        for token, _, started in stage.lines("holds"):
            if int(started) > killed:
                again.setdefault(token, (int(started) - killed) / 1e9)
        if len(again) == count or time.monotonic() > until:
            return again
        time.sleep(LOOK)


def _everything(server: redis.Redis) -> Iterator[bytes]:
    """Return all that the server holds. Every peer writes the arguments somewhere as text."""
    read: dict[bytes, Any] = {
        b"string": server.get,
        b"list": lambda key: server.lrange(key, 0, -1),
        b"set": server.smembers,
        b"hash": server.hgetall,
        b"zset": lambda key: server.zrange(key, 0, -1),
        b"stream": server.xrange,
    }
    for key in server.scan_iter(count=1000):
        kind: Any = server.type(key)
        if kind in read:  # else it has expired meanwhile
            yield from _texts(read[kind](key))


def _texts(value: Any) -> Iterator[bytes]:
    match value:
        case bytes():
            yield value
        case dict():
            yield from _texts(list(value.values()))
        case list() | tuple() | set():
            for part in value:
                yield from _texts(part)
