"""What `reliq bench` measures, on one server."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import attrs
import click

from reliq.cli.bench.jobs import PARKED, QUEUE, noop, pause, stamp
from reliq.cli.bench.worker import Worker
from reliq.inspect import Inspector
from reliq.store.connection import Link, info
from reliq.store.keys import Key, Keyspace

PAUSE = 0.010
"""Seconds of input and output per job."""

LOOK = 0.003
"""Seconds between two looks at what is done: the error of every time that is measured so."""

DEADLINE = 120.0
"""Seconds that one measurement may take."""

LPUSHED = b'{"class":"noop","args":[12345],"jid":"%024d","queue":"bench","retry":false,"created_at":%.6f}'


@attrs.frozen(kw_only=True)
class Sizes:
    """How much is run: jobs of a drain, of one-by-one enqueueing, seconds of input and output, and idle jobs."""

    jobs: int
    rounds: int = 5
    enqueue: int = 1000
    busy: float = 1.0
    samples: int
    gap: float = 0.03


@attrs.frozen
class Figure:
    """One number of the table; `note` says what it is to be compared with."""

    name: str
    title: str
    value: float
    unit: str
    note: str = ""


class Measuring:
    """One server, one worker. The namespace is its own, and nobody else is in it."""

    def __init__(self, link: Link, keys: Keyspace, inspector: Inspector, folder: Path, sizes: Sizes) -> None:
        self._link = link
        self._keys = keys
        self._inspector = inspector
        self._folder = folder
        self._sizes = sizes

    # -- without a worker

    def enqueue(self) -> list[Figure]:
        """Jobs one by one, beside a bare LPUSH over a connection of the same kind, in turns."""
        parked = self._keys.queue(PARKED)
        one = noop.using(queue=PARKED)
        one.enqueue(0)  # connects, and loads the script
        enqueued, pushed = [], []
        for _ in range(self._sizes.rounds):
            enqueued.append(self._rate(one.enqueue))
            payload = LPUSHED % (0, time.time())
            pushed.append(self._rate(lambda _, payload=payload: self._link.call("LPUSH", parked, payload)))  # type: ignore[misc]
            self._link.call("DEL", parked)
        rate, bare = statistics.median(enqueued), statistics.median(pushed)
        return [
            Figure("enqueue", "enqueue one by one", rate, "jobs/s", f"{100 * rate / bare:.0f} % of the LPUSH"),
            Figure("lpush", "LPUSH, same connection", bare, "pushes/s"),
        ]

    def _rate(self, call: Callable[[int], object]) -> float:
        began = time.perf_counter()
        for number in range(self._sizes.enqueue):
            call(number)
        return self._sizes.enqueue / (time.perf_counter() - began)

    # -- with one

    def ready(self, worker: Worker, processes: int) -> None:
        """Return when all its processes are there, and it has run its first jobs."""
        self._wait(worker, lambda: len(self._inspector.status().processes) >= processes, "the worker starts")
        self._done(worker, 10 * processes, lambda: noop.enqueue_many([(0,)] * 10 * processes))

    def drain(self, worker: Worker) -> list[Figure]:
        """No-op jobs are enqueued in bulk, and appear all at once; the clock stops when the last one is settled."""
        jobs, parked = self._sizes.jobs, self._keys.queue(PARKED)
        pushed, drained, cpu = [], [], []
        for _ in range(self._sizes.rounds):
            began = time.perf_counter()
            noop.using(queue=PARKED).enqueue_many((number,) for number in range(jobs))
            pushed.append(jobs / (time.perf_counter() - began))
            before = self._server_cpu()
            drained.append(jobs / self._done(worker, jobs, lambda: self._link.call("RENAME", parked, self._queue)))
            cpu.append(1e6 * (self._server_cpu() - before) / jobs)
        return [
            Figure("bulk", "enqueue in bulk", statistics.median(pushed), "jobs/s"),
            Figure("drain", "no-op drain", statistics.median(drained), "jobs/s", f"{jobs:,} jobs a round"),
            Figure("server_cpu", "server CPU", statistics.median(cpu), "ms per 1,000 jobs", "of the no-op drain"),
        ]

    def io(self, worker: Worker, slots: int) -> list[Figure]:
        """Jobs that wait for 10 ms each."""
        ideal = slots / PAUSE
        jobs, parked = max(slots, int(ideal * self._sizes.busy)), self._keys.queue(PARKED)
        rates = []
        for _ in range(self._sizes.rounds):
            pause.using(queue=PARKED).enqueue_many([(PAUSE,)] * jobs)
            rates.append(jobs / self._done(worker, jobs, lambda: self._link.call("RENAME", parked, self._queue)))
        rate = statistics.median(rates)
        note = f"{100 * rate / ideal:.0f} % of the ideal {ideal:,.0f}"
        return [Figure("io", "10 ms of I/O per job", rate, "jobs/s", note)]

    def latency(self, worker: Worker) -> list[Figure]:
        """Jobs one by one, each to a worker that sleeps; from before the call of enqueue to the start of the job."""
        path = self._folder / "stamps"
        for number in range(self._sizes.samples):
            time.sleep(self._sizes.gap)
            stamp.enqueue(str(path), time.monotonic_ns())
            self._wait(worker, lambda number=number: len(self._stamps(path)) > number, "a job runs")  # type: ignore[misc]
        times = sorted(self._stamps(path))
        note = f"enqueue to start, {len(times)} jobs"
        return [
            Figure("latency_p50", "idle latency, p50", statistics.median(times), "ms", note),
            Figure("latency_p99", "idle latency, p99", percentile(times, 99), "ms"),
        ]

    @staticmethod
    def _stamps(path: Path) -> list[float]:
        return [int(line) / 1e6 for line in path.read_text().splitlines()] if path.exists() else []

    # -- the server

    @property
    def _queue(self) -> Key:
        return self._keys.queue(QUEUE)

    def _done(self, worker: Worker, jobs: int, begin: Callable[[], object]) -> float:
        """Begin, and return the seconds until so many more jobs are settled."""
        wanted = self._processed() + jobs
        began = time.perf_counter()
        begin()
        self._wait(worker, lambda: self._processed() >= wanted, f"{jobs:,} jobs are done")
        return time.perf_counter() - began

    def _processed(self) -> int:
        return int(self._link.call("GET", self._keys.stat("processed")) or 0)

    def _server_cpu(self) -> float:
        """Return the seconds of processor time that the server has used."""
        fields = info(self._link, "cpu")
        return float(fields["used_cpu_user"]) + float(fields["used_cpu_sys"])

    def _wait(self, worker: Worker, condition: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + DEADLINE
        while not condition():
            worker.check()
            if time.monotonic() > until:
                raise click.ClickException(f"not within {DEADLINE:g} s: {what}; its last words: {worker.last_words()}")
            time.sleep(LOOK)


def percentile(ordered: list[float], percent: int) -> float:
    """Return the value that so many percent of all are not above."""
    return ordered[-(-len(ordered) * percent // 100) - 1]


def clear(link: Link, keys: Keyspace) -> None:
    """Delete every key of the namespace."""
    cursor: int | bytes = 0
    while True:
        cursor, found = link.call("SCAN", cursor, "MATCH", f"{keys.prefix}*", "COUNT", 1000)
        if found:
            link.call("UNLINK", *found)
        if int(cursor) == 0:
            return
