"""The rows: what is run, and which numbers come out of it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Literal

import attrs

from bench.failed import Failed
from bench.kills import kill
from bench.peers.peer import RowName
from bench.stage import Stage
from reliq.cli.bench.measuring import percentile

Values = dict[str, float]

IDEAL = 50 / 0.010
"""Jobs per second of 50 at a time that wait for 10 ms each."""


@attrs.frozen
class Measure:
    """One number. `better`: which of two is the better one; None where the number says nothing of the kind."""

    name: str
    title: str
    better: Literal["more", "less"] | None
    digits: int = 0


@attrs.frozen(kw_only=True)
class Row:
    """Something that is run for each peer, in each round; `once`: in the first one only.

    `reliable`: the peers run in the mode that their manuals recommend against loss, where it is not their default.
    `note`: what the heads of the columns leave open.
    """

    name: RowName
    title: str
    measures: tuple[Measure, ...]
    run: Callable[[Stage], Values]
    note: str = ""
    reliable: bool = False
    once: bool = False


def drain(stage: Stage, *, processes: int = 1, threads: int = 10, job: str = "count") -> Values:
    """Jobs appear all at once before an idle worker.

    The clock starts when the first of them has run, because how soon an idle worker wakes up is another row's number,
    and stops at the last settle.
    """
    with stage.producer() as producer:
        producer.order("bulk", job, count=stage.jobs)
        stage.peer.park(stage.place.client)
        with stage.worker(processes=processes, threads=threads) as worker:
            stage.warm(worker, producer, stage.peer.shape(processes, threads)[0])
            server, cpu = stage.place.reading(), worker.cpu()
            stage.peer.release(stage.place.client)
            early = stage.begin(worker)
            began = time.perf_counter()
            stage.settle(worker, producer)
            took = time.perf_counter() - began
            used, cpu = stage.place.reading().since(server), worker.cpu() - cpu
    jobs = stage.jobs
    if early == jobs:
        raise Failed(f"{jobs} jobs are too few: they were done at the first look")
    rate = (jobs - early) / took
    return {
        "jobs": jobs,
        "rate": rate,
        "ideal": 100 * rate / IDEAL,
        "worker-cpu": 1e6 * cpu / jobs,
        "server-cpu": 1e6 * used.cpu / jobs,
        "commands": used.commands / jobs,
        "reads": used.reads / jobs,
        "scripts": used.scripts / jobs,
    }


def latency(stage: Stage) -> Values:
    """Jobs one by one, each to a worker that sleeps: from before the call of enqueue to the first line of the job."""
    sizes = stage.sizes
    with stage.producer() as producer, stage.worker() as worker:
        stage.warm(worker, producer)
        producer.order("stamps", "stamp", count=sizes.samples, gap=sizes.gap, poll=stage.peer.poll, within=sizes.idle)
    times = sorted((int(started) - int(sent)) / 1e6 for sent, started in stage.lines("stamps"))
    if len(times) < 2:
        raise Failed(f"only {len(times)} jobs within {sizes.idle:g} s")
    return {"samples": len(times), "p50": statistics.median(times), "p99": percentile(times, 99)}


def enqueue(stage: Stage, *, do: str) -> Values:
    """Nobody works; a producer enqueues no-op jobs one by one, or with the peer's call for many."""
    count = stage.sizes.enqueue if do == "each" else stage.sizes.bulk
    with stage.producer() as producer:
        producer.order(do, "count", count=100)
        took = producer.order(do, "count", first=100, count=count)
    return {"jobs": count, "rate": count / took}


def memory(stage: Stage) -> Values:
    """All processes of a worker with one process and ten threads, after its first jobs. The application is empty."""
    with stage.producer() as producer, stage.worker() as worker:
        stage.warm(worker, producer)
        return {"processes": len(worker.tree()), "memory": worker.pss() / 2**20}


RATE = Measure("rate", "jobs/s", "more")
KILLS = (
    Measure("lost", "lost", None),
    Measure("kept", "kept only", None),
    Measure("recovery", "next start after, s", "less", 3),
)
FATES = (
    "Ten jobs run (RQ: one), another worker is idle. Lost: percent of the jobs of which nothing is left. Kept only: "
    "percent that the server still has somewhere, but that did not run again within the patience. Next start: the "
    "median of the others."
)
ROWS: dict[RowName, Row] = {
    row.name: row
    for row in (
        Row(
            name="drain-1",
            title="No-op drain, 1 process, 10 threads",
            measures=(
                Measure("jobs", "jobs", None),
                RATE,
                Measure("worker-cpu", "worker CPU", "less", 1),
                Measure("server-cpu", "server CPU", "less", 1),
                Measure("commands", "commands", "less", 2),
                Measure("reads", "round trips", "less", 3),
            ),
            run=drain,
            note="CPU: ms per 1,000 jobs. Commands, those inside of scripts too, and round trips: per job.",
        ),
        Row(
            name="drain-2",
            title="No-op drain, 2 processes, 10 threads each",
            measures=(Measure("jobs", "jobs", None), RATE),
            run=partial(drain, processes=2),
        ),
        Row(
            name="io-50",
            title="10 ms of I/O per job, 50 at a time, 1 process",
            measures=(Measure("jobs", "jobs", None), RATE, Measure("ideal", "of 5,000/s, %", None, 1)),
            run=partial(drain, threads=50, job="pause"),
        ),
        Row(
            name="latency",
            title="Idle latency, from enqueue to start",
            measures=(
                Measure("samples", "samples", None),
                Measure("p50", "p50, ms", "less", 2),
                Measure("p99", "p99, ms", "less", 2),
            ),
            run=latency,
        ),
        Row(
            name="enqueue",
            title="Enqueue one by one",
            measures=(Measure("jobs", "jobs", None), RATE),
            run=partial(enqueue, do="each"),
        ),
        Row(
            name="bulk",
            title="Enqueue in bulk",
            measures=(Measure("jobs", "jobs", None), RATE),
            run=partial(enqueue, do="bulk"),
        ),
        Row(
            name="memory",
            title="Memory of an idle worker, 1 process, 10 threads",
            measures=(Measure("processes", "processes", None), Measure("memory", "PSS, MiB", "less", 1)),
            run=memory,
        ),
        Row(
            name="kill-process",
            title="kill -9 of the process that runs the jobs",
            measures=KILLS,
            run=partial(kill, whole=False),
            note=FATES,
            reliable=True,
            once=True,
        ),
        Row(
            name="kill-worker",
            title="kill -9 of the whole worker",
            measures=KILLS,
            run=partial(kill, whole=True),
            note=FATES,
            reliable=True,
            once=True,
        ),
    )
}
