"""SAQ: its default settings. BENCH_RELIABLE gives each job the retries and the heartbeat without which none is retried.

It has no call for many jobs at once.
"""

from __future__ import annotations

import os
from typing import Any

from saq import Queue

from bench.apps import work

RELIABLE = {"retries": 3, "timeout": 0, "heartbeat": 10} if "BENCH_RELIABLE" in os.environ else {"timeout": 0}
NAMES = ("number", "sent")

queue = Queue.from_url(work.URL)


async def count(_: Any, *, number: int) -> None:
    """See work.py, here and below."""
    work.count(number)


async def pause(_: Any, *, number: int) -> None:
    await work.apause(number)


async def stamp(_: Any, *, number: int, sent: int) -> None:
    work.stamp(number, sent)


async def warm(_: Any, *, number: int) -> None:
    await work.awarm(number)


async def hold(_: Any, *, number: str) -> None:
    await work.ahold(number)


settings = {"queue": queue, "functions": [count, pause, stamp, warm, hold], "concurrency": work.THREADS}


async def send(name: str, *args: Any) -> None:
    """Enqueue one job."""
    await queue.enqueue(name, **RELIABLE, **dict(zip(NAMES, args, strict=False)))
