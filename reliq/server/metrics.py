"""Metrics of one pod: what its processes have done, living and dead, and what its supervisor sees and does.

`docs/metrics.md` says what each means and what to do about it. Counters never go backwards: what a process had
counted when it died stays.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from reliq.server import counts
from reliq.server.children import Child
from reliq.server.counts import CLAIMED, LATE, OUTCOMES, ROUND_TRIPS, RUN, SECONDS, SETTLED, TRIP, TURN_ROW, TURNS, WAIT
from reliq.server.health import Health
from reliq.server.service import Service
from reliq.server.witness import Witness
from reliq.store.processes import Reaped

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

RECOVERY = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0)
"""Upper bounds of the classes of recovery times, in seconds."""


class PodMetrics(Witness):
    """The pod's registry. The supervisor tells it what happens; `page` is asked for from threads of the HTTP server."""

    def __init__(
        self,
        version: str,
        health: Health,
        children: Callable[[], Sequence[Child]],
        services: Callable[[], Sequence[Service]],
    ) -> None:
        self._registry = CollectorRegistry()
        self._gone: counts.Rows = {}
        self._dying: list[Child] = []  # whose counts are not among those yet
        self._lock = threading.Lock()
        self._children = children
        self._services = services
        self._health = health
        self._version = version
        self._started = self._counter("processes_started", "Worker processes that were started.")
        self._crashes = self._counter("crashes", "Worker processes that ended without leaving, by how.", "cause")
        self._recovered = self._counter("recovered_jobs", "Jobs of dead processes that this pod moved.", "to")
        self._recovery = Histogram(
            "reliq_worker_recovery_seconds",
            "From the death of a process of this pod, or the last beat of another's, to its jobs being back.",
            ["of"],
            registry=self._registry,
            buckets=RECOVERY,
        )
        for to in ("queue", "quarantine", "dead"):
            self._recovered.labels(to)
        for of in ("child", "pod"):
            self._recovery.labels(of)
        self._registry.register(_Seen(self))

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"reliq_worker_{name}_total", text, labels, registry=self._registry)

    # -- what the supervisor tells

    def started(self) -> None:
        """A process was started."""
        self._started.inc()

    def crashed(self, cause: str) -> None:
        """A process ended without leaving; `cause` as `Child.bury` says it."""
        known = "out of memory" if "memory" in cause else cause.rpartition(" ")[2] if "killed by" in cause else cause
        self._crashes.labels(known).inc()

    def dying(self, child: Child) -> None:
        """A process has ended, and is about to be no child any more."""
        with self._lock:
            self._dying.append(child)

    def buried(self, child: Child, last_turn: Callable[[], int]) -> None:
        """Keep the counts of one that has ended. `last_turn` may raise StoreError; then call again."""
        rows = counts.final(child.board.table, last_turn)
        with self._lock:
            if child in self._dying:
                counts.add(self._gone, rows)
                self._dying.remove(child)
                child.counted = True

    def recovered(self, of: str, reaped: Reaped, seconds: float) -> None:
        """Jobs of a dead process are back, so many seconds after its death: of a `child`, or of a `pod`."""
        for to, jobs in (("queue", reaped.public), ("quarantine", reaped.quarantined), ("dead", reaped.buried)):
            self._recovered.labels(to).inc(len(jobs))
        if reaped.total:
            self._recovery.labels(of).observe(seconds)

    # -- what is read

    def page(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def totals(self) -> counts.Rows:
        """Return the counts of all processes that this pod ever had."""
        total: counts.Rows = {}
        with self._lock:
            counts.add(total, self._gone)
            for child in dict.fromkeys([*self._children(), *self._dying]):
                if not child.counted:
                    counts.add(total, child.board.table.read())
        return total

    def seen(self) -> Iterator[Metric]:
        """Yield what is read at each scrape."""
        rows = self.totals()
        yield from _jobs(rows)
        yield from _turns(rows)
        children = self._children()
        for name, text, value in (
            ("slots", "Threads for jobs.", sum(child.role.concurrency for child in children)),
            ("busy_slots", "Threads that have a job.", sum(child.board.busy for child in children)),
            ("held_jobs", "Jobs that the processes have claimed and not settled.", sum(c.board.held for c in children)),
        ):
            yield GaugeMetricFamily(f"reliq_worker_{name}", text, value)
        text = "Memory of a process; of pages that several share each has its part."
        memory = GaugeMetricFamily("reliq_worker_memory_bytes", text, labels=["pid"])
        for child in children:
            if (size := _pss(child.pid)) is not None:
                memory.add_metric([str(child.pid)], size)
        yield memory
        lag = GaugeMetricFamily(
            "reliq_worker_duty_age_seconds", "Since a duty of the supervisor was done last.", labels=["duty"]
        )
        for service in self._services():
            lag.add_metric([service.name], max(0.0, time.monotonic() - service.done_at))
        yield lag
        report = self._health.look()
        yield GaugeMetricFamily("reliq_worker_live", "Whether /live says yes.", report.live)
        yield GaugeMetricFamily("reliq_worker_ready", "Whether /ready says yes.", report.ready)
        info = GaugeMetricFamily("reliq_worker_build_info", "1; the version of the worker.", labels=["version"])
        info.add_metric([self._version], 1)
        yield info


class _Seen(Collector):
    """Asks anew at each scrape."""

    def __init__(self, metrics: PodMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        return self._metrics.seen()

    def describe(self) -> list[Metric]:
        """Nothing: else prometheus-client would collect once to find out."""
        return []


def _jobs(rows: counts.Rows) -> Iterator[Metric]:
    outcomes = ["job_name", "queue", "outcome"]  # not `job`: that is Prometheus' name for what it scrapes
    ended = CounterMetricFamily("reliq_worker_jobs", "Runs that ended and were settled.", labels=outcomes)
    ran = HistogramMetricFamily("reliq_worker_run_seconds", "How long runs took.", labels=["job_name", "queue"])
    text = "From enqueue, or from becoming due, to the begin of the run."
    waited = HistogramMetricFamily("reliq_worker_wait_seconds", text, labels=["job_name", "queue"])
    refused = CounterMetricFamily("reliq_worker_refusals", "Commands that the server refused.", labels=["code"])
    for label, row in rows.items():
        match label:
            case ("job", name, queue):
                for field, outcome in enumerate(OUTCOMES.values()):
                    if row[field]:
                        ended.add_metric([name, queue, outcome], row[field])
                _histogram(ran, [name, queue], SECONDS, row[RUN : RUN + len(SECONDS) + 2])
                _histogram(waited, [name, queue], SECONDS, row[WAIT : WAIT + len(SECONDS) + 2])
            case ("refused", code):
                refused.add_metric([code], row[0])
    yield from (ended, ran, waited, refused)


def _turns(rows: counts.Rows) -> Iterator[Metric]:
    row = rows.get(TURN_ROW, [0.0] * (TRIP + len(ROUND_TRIPS) + 2))
    for name, text, field in (
        ("turns", "Turns that were applied.", TURNS),
        ("claimed_jobs", "Jobs that they claimed; those that came through doorbells are not among them.", CLAIMED),
        ("settled_jobs", "Jobs that they settled, those handed back too.", SETTLED),
        ("late_jobs", "Runs that ended after their process had been declared dead: they count for nothing.", LATE),
    ):
        yield CounterMetricFamily(f"reliq_worker_{name}", text, row[field])
    trips = HistogramMetricFamily("reliq_worker_turn_seconds", "From sending a turn to its answer.", labels=[])
    _histogram(trips, [], ROUND_TRIPS, row[TRIP : TRIP + len(ROUND_TRIPS) + 2])
    yield trips


def _histogram(family: HistogramMetricFamily, labels: list[str], bounds: Sequence[float], row: Sequence[float]) -> None:
    """Add a sum and the counts of the classes that follow it."""
    upto, buckets = 0.0, []
    for bound, count in zip([*map(str, bounds), "+Inf"], row[1:], strict=True):
        upto += count
        buckets.append((bound, upto))
    family.add_metric(labels, buckets, row[0])


def _pss(pid: int) -> int | None:
    # Linux only; elsewhere, and of one that has just ended, nothing.
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    except (OSError, StopIteration, ValueError):
        return None
