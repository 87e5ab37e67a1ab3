"""The exporter's pages: what Prometheus, scalers and probes read."""

import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import attrs
import orjson
import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from chaos.proxy import Proxy
from reliq.exporter.metrics import FLEET, OTHER, QUEUE, Metrics, shown
from reliq.exporter.pages import pages
from reliq.exporter.reader import FRESH, Reader
from reliq.server.http import HttpServer
from reliq.store.opening import Store
from reliq.survey import Survey, Surveyor
from tests.counterexamples.stage import HandClock
from tests.exporter.conftest import ID, OTHER_ID, Stage, ask
from tests.exporter.test_scale import process, queue, survey
from tests.store.conftest import OpenStore

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Exporter(NamedTuple):
    """A running one, whose clock is moved by hand: without that it never reads twice."""

    port: int
    clock: HandClock

    def scrape(self) -> Samples:
        """The samples of /metrics, by name and labels."""
        self.clock.now += 1.01 * FRESH
        status, text = ask(self.port, "/metrics")
        assert status == 200
        return {
            (sample.name, tuple(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def scale(self, query: str = "") -> dict[str, float | None]:
        """What /scale says."""
        self.clock.now += 1.01 * FRESH
        status, text = ask(self.port, f"/scale{query}")
        assert status == 200, text
        found: dict[str, float | None] = orjson.loads(text)
        return found


def of(samples: Samples, name: str, queue: str | None = None) -> float | None:
    """One sample, None if it is not there."""
    return samples.get((name, () if queue is None else (("queue", queue),)))


Serve = Callable[[Store], Exporter]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Exporters, closed after the test."""
    ends: list[Callable[[], None]] = []

    def make(store: Store) -> Exporter:
        clock = HandClock()
        reader = Reader(Surveyor(store), clock)
        server = HttpServer("127.0.0.1:0", pages(reader, Metrics(reader, "1.2.3", 2)))
        server.start()
        ends.extend((server.close, reader.close))
        return Exporter(server.port, clock)

    yield make
    for end in ends:
        end()


@pytest.fixture
def exporter(serve: Serve, store: Store) -> Exporter:
    """Of the shared server."""
    return serve(store)


# -- /metrics


def test_an_empty_server_has_numbers_too(exporter: Exporter) -> None:
    samples = exporter.scrape()
    assert samples.pop(("reliq_build_info", (("version", "1.2.3"),))) == 1
    assert samples.pop(("reliq_redis_up", ())) == 1
    assert samples.pop(("reliq_survey_seconds", ())) >= 0
    assert samples == {(spec.name, ()): 0.0 for spec in FLEET}


def test_numbers_of_queues_and_fleet(exporter: Exporter, stage: Stage, redis_client: redis.Redis) -> None:
    redis_client.mset({"stat:processed": 7, "stat:failed": 3, "stat:trimmed": 2})
    redis_client.zadd("schedule", {"a": 1, "b": 1e12})
    redis_client.zadd("retry", {"c": 1, "d": 1e12, "e": 1e12})
    redis_client.zadd("dead", {"f": 1})
    redis_client.hset("pace", "mail", "4:2:1700000000.0")
    redis_client.sadd("paused", "low")
    stage.process(ID, ("mail", "low"), shown={"quiet": "true"})
    stage.process(OTHER_ID, alive=False)
    stage.process("web-3:1:0123456789ab")
    stage.waiting("mail", 3, age=50)
    stage.waiting("low", 1)
    stage.jobs(f"private:{ID}:mail", 2)
    stage.jobs(f"private:{OTHER_ID}:mail", 1)
    stage.jobs("quarantine:low", 1)
    samples = exporter.scrape()
    assert {
        name: of(samples, name, "mail") for name in (spec.name for spec in QUEUE if "latency" not in spec.name)
    } == {
        "reliq_queue_jobs": 3,
        "reliq_queue_paused": 0,
        "reliq_queue_in_flight_jobs": 3,
        "reliq_queue_run_seconds": 0.5,
        "reliq_quarantine_jobs": 0,
    }
    assert 50 <= (of(samples, "reliq_queue_latency_seconds", "mail") or 0) < 100
    assert (of(samples, "reliq_queue_paused", "low"), of(samples, "reliq_quarantine_jobs", "low")) == (1, 1)
    assert of(samples, "reliq_queue_run_seconds", "low") is None
    oldest = of(samples, "reliq_scale_oldest_seconds")
    assert oldest == of(samples, "reliq_queue_latency_seconds", "mail")
    assert {spec.name: of(samples, spec.name) for spec in FLEET if "oldest" not in spec.name} == {
        "reliq_in_flight_jobs": 3,
        "reliq_orphaned_jobs": 1,
        "reliq_private_orphans": 1,
        "reliq_scheduled_jobs": 2,
        "reliq_retry_jobs": 3,
        "reliq_due_jobs": 2,
        "reliq_dead_jobs": 1,
        "reliq_processed_total": 7,
        "reliq_failed_total": 3,
        "reliq_trimmed_total": 2,
        "reliq_processes": 2,
        "reliq_processes_quiet": 1,
        "reliq_fleet_slots": 8,
        "reliq_fleet_busy_slots": 2,
        "reliq_scale_jobs": 8,
        "reliq_scale_seconds": 4.0,
        "reliq_scale_idle_slots": 4,
    }


def test_without_an_estimate_there_is_no_sample(exporter: Exporter, stage: Stage) -> None:
    stage.waiting("mail", 1)
    samples = exporter.scrape()
    assert of(samples, "reliq_scale_jobs") == 1
    assert of(samples, "reliq_scale_seconds") is None
    assert exporter.scale()["work_seconds"] is None


def test_a_job_that_does_not_tell_its_age_has_no_latency(exporter: Exporter, redis_client: redis.Redis) -> None:
    redis_client.sadd("queues", "mail", "empty")
    redis_client.lpush("queue:mail", "not json")
    samples = exporter.scrape()
    assert of(samples, "reliq_queue_latency_seconds", "mail") is None
    assert of(samples, "reliq_queue_latency_seconds", "empty") == 0


def test_any_name_of_a_queue_is_a_label(exporter: Exporter, stage: Stage) -> None:
    name = 'a "quoted" \\ naïve, name'
    stage.waiting(name, 1)
    assert of(exporter.scrape(), "reliq_queue_jobs", name) == 1


# -- bounded labels


def many(*names: str) -> Survey:
    return survey(
        *(queue(name, waiting=1, oldest=float(number), held=2) for number, name in enumerate(names)),
        processes=(process("z"),),
    )


def test_as_many_queues_as_allowed_are_all_shown() -> None:
    found = many("a", "b", OTHER)
    assert shown(found, 3) == found.queues


def test_more_are_summed_up_and_those_that_somebody_consumes_come_first() -> None:
    found = many("a", "b", "c", "z")
    mine, next_one, rest = shown(found, 2)
    assert (mine.name, next_one.name, rest.name) == ("z", "a", OTHER)
    assert (rest.waiting, rest.oldest, rest.held) == (2, 2.0, 4)
    [everything] = shown(found, 0)
    assert (everything.name, everything.waiting) == (OTHER, 4)


def test_a_queue_that_is_called_like_the_rest_is_part_of_it() -> None:
    names = [each.name for each in shown(many("a", OTHER, "z"), 2)]
    assert names == ["z", "a", OTHER]


def test_the_rest_sums_every_number() -> None:
    first = queue("a", waiting=1, held=2, orphaned=3, quarantined=4, paused=True)
    second = attrs.evolve(first, name="b", oldest=5.0, paused=False)
    [rest] = shown(survey(first, second), 0)
    assert rest == attrs.evolve(first, name=OTHER, waiting=2, oldest=5.0, held=4, orphaned=6, quarantined=8)


def test_the_page_has_bounded_labels(exporter: Exporter, stage: Stage) -> None:
    for number in range(5):
        stage.waiting(f"q{number}", 1)
    samples = exporter.scrape()
    jobs = {labels: value for (name, labels), value in samples.items() if name == "reliq_queue_jobs"}
    assert jobs == {(("queue", "q0"),): 1, (("queue", "q1"),): 1, (("queue", OTHER),): 3}
    assert of(samples, "reliq_scale_jobs") == 5


# -- /scale


def test_scale(exporter: Exporter, stage: Stage, redis_client: redis.Redis) -> None:
    stage.process(ID, ("mail",))
    stage.waiting("mail", 2, age=50)
    stage.waiting("low", 1)
    stage.jobs(f"private:{ID}:mail", 3)
    redis_client.hset("pace", "mail", "4:2:1700000000.0")
    found = exporter.scale("?queue=mail&queue=none")
    assert 50 <= (found.pop("oldest_seconds") or 0) < 100
    assert found == {"jobs": 5, "ready": 2, "in_flight": 3, "work_seconds": 2.5, "idle_slots": 1, "processes": 1}
    assert exporter.scale()["jobs"] == 6
    assert exporter.scale("?queue=low")["jobs"] == 1


def test_it_is_never_0_while_the_last_job_runs_or_waits_to_be_recovered(
    exporter: Exporter, stage: Stage, redis_client: redis.Redis
) -> None:
    stage.process(ID)
    stage.jobs(f"private:{ID}:mail", 1)
    assert exporter.scale()["jobs"] == 1
    redis_client.set(f"heartbeat:{ID}", "fenced", ex=60)
    assert exporter.scale("?queue=mail")["jobs"] == 1
    redis_client.lmove(f"private:{ID}:mail", "queue:mail")
    assert exporter.scale()["jobs"] == 1
    redis_client.rpop("queue:mail")
    assert exporter.scale()["jobs"] == 0


# -- when Redis is away


def test_an_outage_is_told_apart_from_an_empty_queue(
    serve: Serve, proxy: Proxy, open_store: OpenStore, stage: Stage
) -> None:
    stage.waiting("mail", 1)
    exporter = serve(open_store(proxy.url))
    assert of(exporter.scrape(), "reliq_redis_up") == 1
    proxy.refuse()
    proxy.cut()
    assert exporter.scrape() == {("reliq_build_info", (("version", "1.2.3"),)): 1, ("reliq_redis_up", ()): 0}
    for path in ("/scale", "/ready"):
        status, text = ask(exporter.port, path)
        assert (status, text[:21]) == (503, "no answer from Redis "), "a scaler must not take it for an empty queue"
        assert text.count("\n") == 1
    assert ask(exporter.port, "/live") == (200, "serving\n")
    proxy.accept()
    assert exporter.scale()["jobs"] == 1
    assert ask(exporter.port, "/ready") == (200, "Redis answers\n")


def test_everybody_within_a_second_gets_the_same_survey(
    serve: Serve, proxy: Proxy, open_store: OpenStore, redis_client: redis.Redis
) -> None:
    exporter = serve(open_store(proxy.url))
    exporter.scrape()
    before = redis_client.info("commandstats")["cmdstat_exec"]["calls"]
    threads = [threading.Thread(target=ask, args=(exporter.port, path)) for path in ("/metrics", "/scale") * 5]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert redis_client.info("commandstats")["cmdstat_exec"]["calls"] == before
    proxy.refuse()
    proxy.cut()
    assert ask(exporter.port, "/ready")[0] == 200
    exporter.clock.now += FRESH
    assert ask(exporter.port, "/ready")[0] == 503
    proxy.accept()
    assert ask(exporter.port, "/ready")[0] == 503, "a failure serves everybody as long"
    exporter.clock.now += FRESH
    assert ask(exporter.port, "/ready")[0] == 200
