"""arq: its default settings. It has no call for many jobs at once."""

from __future__ import annotations

from typing import Any

from arq import create_pool
from arq.connections import ArqRedis, RedisSettings

from bench.apps import work

_pool: ArqRedis | None = None


async def count(_: Any, number: int) -> None:
    """See work.py, here and below."""
    work.count(number)


async def pause(_: Any, number: int) -> None:
    await work.apause(number)


async def stamp(_: Any, number: int, sent: int) -> None:
    work.stamp(number, sent)


async def warm(_: Any, number: int) -> None:
    await work.awarm(number)


async def hold(_: Any, token: str) -> None:
    await work.ahold(token)


class WorkerSettings:
    """What the command line of arq takes."""

    functions = (count, pause, stamp, warm, hold)
    redis_settings = RedisSettings.from_dsn(work.URL)
    max_jobs = work.THREADS


LOGGING = {"version": 1, "root": {"level": "WARNING"}}


async def send(name: str, *args: Any) -> None:
    """Enqueue one job."""
    global _pool  # noqa: PLW0603 - a producer is one program
    if _pool is None:
        _pool = await create_pool(WorkerSettings.redis_settings)
    await _pool.enqueue_job(name, *args)
