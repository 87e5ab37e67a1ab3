"""taskiq: the stream broker, the one that acknowledges, with its default settings and no result backend.

It has no call for many tasks at once.
"""

from __future__ import annotations

from typing import Any

from taskiq_redis import RedisStreamBroker

from bench.apps import work

broker = RedisStreamBroker(work.URL)
_started = False


@broker.task
async def count(number: int) -> None:
    """See work.py, here and below."""
    work.count(number)


@broker.task
async def pause(number: int) -> None:
    await work.apause(number)


@broker.task
async def stamp(number: int, sent: int) -> None:
    work.stamp(number, sent)


@broker.task
async def warm(number: int) -> None:
    await work.awarm(number)


@broker.task
async def hold(token: str) -> None:
    await work.ahold(token)


JOBS: dict[str, Any] = {"count": count, "pause": pause, "stamp": stamp, "warm": warm, "hold": hold}


async def send(name: str, *args: Any) -> None:
    """Enqueue one task."""
    global _started  # noqa: PLW0603 - a producer is one program
    if not _started:
        await broker.startup()
        _started = True
    await JOBS[name].kiq(*args)
