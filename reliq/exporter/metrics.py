"""Metrics: a survey as Prometheus reads it. `docs/metrics.md` says what each means and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

import attrs
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from reliq.errors import ReliqError
from reliq.exporter.reader import Reader
from reliq.exporter.scale import Scale, scale_of
from reliq.store.paces import Ran
from reliq.survey import QueueState, Survey

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

OTHER = "other"
"""The label of those queues that would be too many, summed up; one that is really called so is then among them."""

T = TypeVar("T")


@attrs.frozen
class Spec(Generic[T]):
    """A metric: a counter if its name ends in `_total`, else a gauge. `read` returns its value, None for none."""

    name: str
    help: str
    read: Callable[[T], float | None]

    def family(self, labels: Sequence[str] = ()) -> CounterMetricFamily | GaugeMetricFamily:
        """Return it without values."""
        kind = CounterMetricFamily if self.name.endswith("_total") else GaugeMetricFamily
        return kind(self.name, self.help, labels=labels)


@attrs.frozen
class Fleet:
    """Everything together."""

    survey: Survey
    scale: Scale


UP = Spec[bool]("reliq_redis_up", "Whether Redis answered; if not, there are no numbers but this one.", float)

QUEUE: tuple[Spec[QueueState], ...] = (
    Spec("reliq_queue_jobs", "Jobs that wait in a public queue.", lambda queue: queue.waiting),
    Spec(
        "reliq_queue_latency_seconds",
        "Age of the job that is next; 0 when none waits.",
        lambda queue: queue.oldest if queue.waiting else 0.0,
    ),
    Spec("reliq_queue_paused", "Whether claiming is paused.", lambda queue: queue.paused),
    Spec(
        "reliq_queue_in_flight_jobs",
        "Jobs of the queue that processes hold, living or dead.",
        lambda queue: queue.held + queue.orphaned,
    ),
    Spec("reliq_queue_run_seconds", "Mean run time of the latest jobs.", lambda queue: queue.ran.mean),
    Spec("reliq_quarantine_jobs", "Jobs that wait to run alone.", lambda queue: queue.quarantined),
)

FLEET: tuple[Spec[Fleet], ...] = (
    Spec("reliq_in_flight_jobs", "Jobs that processes hold, living or dead.", lambda fleet: fleet.scale.in_flight),
    Spec(
        "reliq_orphaned_jobs",
        "Jobs that dead processes hold, until a reaper brings them back.",
        lambda fleet: sum(queue.orphaned for queue in fleet.survey.queues),
    ),
    Spec(
        "reliq_private_orphans",
        "Private lists in which they lie.",
        lambda fleet: fleet.survey.orphans,
    ),
    Spec("reliq_scheduled_jobs", "Jobs that wait for their time.", lambda fleet: fleet.survey.scheduled),
    Spec("reliq_retry_jobs", "Failed jobs that wait for their next attempt.", lambda fleet: fleet.survey.retries),
    Spec(
        "reliq_due_jobs",
        "Scheduled and failed jobs whose time has come, not moved to their queues yet.",
        lambda fleet: fleet.survey.due,
    ),
    Spec("reliq_dead_jobs", "Jobs that nobody will run again by himself.", lambda fleet: fleet.survey.dead),
    Spec("reliq_processed_total", "Attempts that ended, failed ones too.", lambda fleet: fleet.survey.processed),
    Spec("reliq_failed_total", "Attempts that failed.", lambda fleet: fleet.survey.failed),
    Spec("reliq_trimmed_total", "Dead jobs that fell to the limits.", lambda fleet: fleet.survey.trimmed),
    Spec(
        "reliq_processes",
        "Living worker processes, those of the quarantine left out.",
        lambda fleet: sum(process.works for process in fleet.survey.processes),
    ),
    Spec(
        "reliq_processes_quiet",
        "Those of them that take no more jobs.",
        lambda fleet: sum(process.works and process.quiet for process in fleet.survey.processes),
    ),
    Spec(
        "reliq_fleet_slots",
        "Threads for jobs in them.",
        lambda fleet: sum(process.entry.concurrency for process in fleet.survey.processes if process.works),
    ),
    Spec(
        "reliq_fleet_busy_slots",
        "Threads of them that have a job.",
        lambda fleet: sum(process.busy for process in fleet.survey.processes if process.works),
    ),
    Spec("reliq_scale_jobs", "Jobs to be done: ready and in flight.", lambda fleet: fleet.scale.jobs),
    Spec(
        "reliq_scale_oldest_seconds",
        "Age of the oldest job that waits in a queue that is not paused.",
        lambda fleet: fleet.scale.oldest_seconds,
    ),
    Spec(
        "reliq_scale_seconds",
        "How long one thread would need for all jobs to be done, by the latest run times.",
        lambda fleet: fleet.scale.work_seconds,
    ),
    Spec("reliq_scale_idle_slots", "Threads that could begin a job now.", lambda fleet: fleet.scale.idle_slots),
)


class Metrics(Collector):
    """The page /metrics. `most` bounds how many queues have a label of their own."""

    def __init__(self, reader: Reader, version: str, most: int) -> None:
        self._reader = reader
        self._version = version
        self._most = most
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def page(self) -> bytes:
        """Return the text."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics; while Redis is away only that it is."""
        info = GaugeMetricFamily("reliq_build_info", "The version of this exporter.", labels=["version"])
        info.add_metric([self._version], 1)
        yield info
        try:
            survey = self._reader.read()
        except ReliqError:
            yield from _alone(UP, False)
            return
        yield from _alone(UP, True)
        took = GaugeMetricFamily("reliq_survey_seconds", "How long it took to read these numbers.")
        took.add_metric([], self._reader.took)
        yield took
        queues = shown(survey, self._most)
        for spec in QUEUE:
            family = spec.family(["queue"])
            for queue in queues:
                value = spec.read(queue)
                if value is not None:
                    family.add_metric([queue.name], value)
            yield family
        for each in FLEET:
            yield from _alone(each, Fleet(survey, scale_of(survey)))


def _alone(spec: Spec[T], of: T) -> Iterator[Metric]:
    value = spec.read(of)
    family = spec.family()
    if value is not None:
        family.add_metric([], value)
    yield family


def shown(survey: Survey, most: int) -> list[QueueState]:
    """Return at most `most` queues, and the others as one: those that a process of the fleet knows come first."""
    if len(survey.queues) <= most:
        return survey.queues
    known = {name for process in survey.processes for name in process.entry.queues}
    ranked = sorted(survey.queues, key=lambda queue: (queue.name == OTHER, queue.name not in known, queue.name))
    return [*ranked[:most], _together(ranked[most:])]


def _together(queues: Sequence[QueueState]) -> QueueState:
    return QueueState(
        name=OTHER,
        waiting=sum(queue.waiting for queue in queues),
        oldest=max((queue.oldest for queue in queues if queue.oldest is not None), default=None),
        paused=any(queue.paused for queue in queues),
        held=sum(queue.held for queue in queues),
        orphaned=sum(queue.orphaned for queue in queues),
        quarantined=sum(queue.quarantined for queue in queues),
        ran=Ran(sum(queue.ran.runs for queue in queues), sum(queue.ran.seconds for queue in queues)),
    )
