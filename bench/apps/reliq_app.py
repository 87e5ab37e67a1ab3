"""reliq: the default settings."""

from __future__ import annotations

import os
from typing import Any

from bench.apps import work
from reliq import Reliq

app = Reliq(os.environ["BENCH_URL"])

count = app.job(work.count)
pause = app.job(work.pause)
stamp = app.job(work.stamp)
hold = app.job(work.hold)
JOBS: dict[str, Any] = {"count": count, "pause": pause, "stamp": stamp, "hold": hold}


@app.job
def warm(number: int) -> None:
    """Say which process runs jobs."""
    work.warm(number)


JOBS["warm"] = warm


def send(name: str, *args: Any) -> None:
    """Enqueue one job."""
    JOBS[name].enqueue(*args)


def send_many(name: str, calls: list[tuple[Any, ...]]) -> None:
    """Enqueue many, a thousand per round trip."""
    JOBS[name].enqueue_many(calls)
