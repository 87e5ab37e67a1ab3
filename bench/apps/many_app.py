"""reliq with many queues: BENCH_QUEUES of them, and as many jobs on each."""

from __future__ import annotations

import os
from typing import Any

from bench.apps.reliq_app import JOBS

QUEUES = int(os.environ["BENCH_QUEUES"])


def send(name: str, *args: Any) -> None:
    """Enqueue one job, on the first queue."""
    JOBS[name].using(queue="q0").enqueue(*args)


def send_many(name: str, calls: list[tuple[Any, ...]]) -> None:
    """Enqueue many, evenly on all queues."""
    for number in range(QUEUES):
        JOBS[name].using(queue=f"q{number}").enqueue_many(calls[number::QUEUES])
