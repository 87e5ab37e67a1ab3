"""Celery: no result backend. BENCH_RELIABLE sets what its manual says against lost tasks. No call for many at once."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

from bench.apps import work

app = Celery("bench", broker=work.URL)
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True, worker_hijack_root_logger=False)
if "BENCH_RELIABLE" in os.environ:
    app.conf.update(task_acks_late=True, task_reject_on_worker_lost=True)


@app.task
def count(number: int) -> None:
    """See work.py, here and below."""
    work.count(number)


@app.task
def pause(number: int) -> None:
    work.pause(number)


@app.task
def stamp(number: int, sent: int) -> None:
    work.stamp(number, sent)


@app.task
def warm(number: int) -> None:
    work.warm(number)


@app.task
def hold(token: str) -> None:
    work.hold(token)


JOBS: dict[str, Any] = {"count": count, "pause": pause, "stamp": stamp, "warm": warm, "hold": hold}


def send(name: str, *args: Any) -> None:
    """Enqueue one task."""
    JOBS[name].delay(*args)
