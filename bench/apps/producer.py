"""The producer: `python -m bench.apps.producer MODULE`, in the environment of a peer. Does what standard input says.

One JSON object per line, one answer per order: `bulk` and `each` enqueue `count` jobs from number `first` on, `stamps`
enqueues one at a time to an idle worker, `one` enqueues one. The answer is the seconds that the enqueueing took.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import random
import sys
import time
from collections.abc import Awaitable
from typing import Any

from bench.apps import work

LOOK = 0.002
"""Seconds between two looks for the end of a job."""


class Producer:
    """Calls an application's `send`, and its `send_many` if it has one. Both may be coroutine functions."""

    def __init__(self, app: Any) -> None:
        self._send = app.send
        self._send_many = getattr(app, "send_many", None)
        self._loop = asyncio.new_event_loop()

    def obey(self, order: dict[str, Any]) -> float:
        """Do what an order says."""
        kind, job = order["do"], order["job"]
        if kind == "one":
            return self._timed(lambda: self._send(job, *order["args"]))
        numbers = range(order["first"], order["first"] + order["count"])
        if kind == "stamps":
            return self._stamps(job, numbers, order["gap"], order["poll"], order["within"])
        if kind == "bulk" and self._send_many is not None:
            return self._timed(lambda: self._send_many(job, [(number,) for number in numbers]))
        if inspect.iscoroutinefunction(self._send):
            return self._timed(lambda: self._each(job, numbers))
        began = time.perf_counter()
        for number in numbers:
            self._send(job, number)
        return time.perf_counter() - began

    def _timed(self, call: Any) -> float:
        began = time.perf_counter()
        outcome = call()
        if inspect.isawaitable(outcome):
            self._loop.run_until_complete(_finish(outcome))
        return time.perf_counter() - began

    async def _each(self, job: str, numbers: range) -> None:
        for number in numbers:
            await self._send(job, number)

    def _stamps(self, job: str, numbers: range, gap: float, poll: float, within: float) -> float:
        """Enqueue a job, wait for its end, let the worker fall asleep, and so on, as time allows.

        A worker that looks every `poll` seconds is met at any moment between two looks.
        """
        began = time.perf_counter()
        done = work.FOLDER / "stamps"
        for number in numbers:
            if time.perf_counter() - began > within:
                break
            time.sleep(random.uniform(gap / 2, gap * 3 / 2) + random.uniform(0, poll))
            size = done.stat().st_size if done.exists() else 0
            self._timed(lambda number=number: self._send(job, number, time.monotonic_ns()))
            while not done.exists() or done.stat().st_size == size:
                time.sleep(LOOK)
        return time.perf_counter() - began


async def _finish(outcome: Awaitable[Any]) -> None:
    await outcome


def main() -> None:
    """Obey until standard input ends."""
    producer = Producer(importlib.import_module(sys.argv[1]))
    for line in sys.stdin:
        sys.stdout.write(json.dumps(producer.obey(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
