"""RQ: its default worker, which forks for each job. BENCH_RELIABLE gives each job a retry, without which none is."""

from __future__ import annotations

import os
from typing import Any

import redis
from rq import Queue, Retry

from bench.apps import work

RELIABLE = "BENCH_RELIABLE" in os.environ


def count(number: int) -> None:
    """See work.py, here and below."""
    work.count(number)


def pause(number: int) -> None:
    work.pause(number)


def stamp(number: int, sent: int) -> None:
    work.stamp(number, sent)


def warm(number: int) -> None:
    work.warm(number, os.getppid())  # the worker; the job has a process of its own


def hold(token: str) -> None:
    work.hold(token)


JOBS: dict[str, Any] = {"count": count, "pause": pause, "stamp": stamp, "warm": warm, "hold": hold}
_queue: Queue | None = None


def send(name: str, *args: Any) -> None:
    """Enqueue one job."""
    queue().enqueue(JOBS[name], *args, retry=Retry(max=3) if RELIABLE else None)


def send_many(name: str, calls: list[tuple[Any, ...]]) -> None:
    """Enqueue many, a thousand per pipeline."""
    for first in range(0, len(calls), 1000):
        queue().enqueue_many([Queue.prepare_data(JOBS[name], args) for args in calls[first : first + 1000]])


def queue() -> Queue:
    """Return the queue, connected; a worker makes its own."""
    global _queue  # noqa: PLW0603 - a producer is one program
    if _queue is None:
        _queue = Queue("default", connection=redis.Redis.from_url(work.URL))
    return _queue
