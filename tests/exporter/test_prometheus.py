"""A real Prometheus scrapes the exporter: it takes every metric, with the type that the documentation gives."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from chaos.eventually import eventually
from chaos.proxy import Proxy
from reliq.clock import SystemClock
from reliq.exporter.metrics import FLEET, QUEUE, UP, Metrics, Spec
from reliq.exporter.pages import pages
from reliq.exporter.reader import Reader
from reliq.server.http import HttpServer
from reliq.survey import Surveyor
from tests.contract.places import ROOT
from tests.exporter.conftest import ID, Stage
from tests.store.conftest import OpenStore
from tests.support.prometheus import Prometheus, needs_prometheus

pytestmark = needs_prometheus


@contextmanager
def scraping(surveyor: Surveyor, folder: Path) -> Iterator[Prometheus]:
    """A Prometheus, and the exporter that it scrapes."""
    reader = Reader(surveyor, SystemClock())
    with HttpServer("127.0.0.1:0", pages(reader, Metrics(reader, "1.2.3", 200))) as server:
        made = Prometheus(folder, {"reliq-exporter": server.address})
        try:
            eventually(made.up, 20, "it has scraped")
            yield made
        finally:
            made.close()


@pytest.fixture
def prometheus(surveyor: Surveyor, tmp_path: Path) -> Iterator[Prometheus]:
    """It scrapes an exporter of the shared server."""
    with scraping(surveyor, tmp_path) as made:
        yield made


def test_it_takes_every_metric(prometheus: Prometheus, stage: Stage, redis_client: redis.Redis) -> None:
    stage.process(ID, ("mail", 'a "b"'))
    stage.waiting("mail", 3, age=50)
    stage.jobs(f"private:{ID}:mail", 2)
    redis_client.hset("pace", "mail", "4:2:1700000000.0")
    eventually(lambda: prometheus.value('reliq_queue_jobs{queue="mail"}') == 3, 10)
    assert prometheus.value('reliq_queue_jobs{queue="a \\"b\\""}') == 0
    known = prometheus.ask("metadata")
    specs: tuple[Spec[Any], ...] = (UP, *QUEUE, *FLEET)
    for spec in specs:
        [described] = known[spec.name]
        assert described["type"] == ("counter" if spec.name.endswith("_total") else "gauge")
        assert described["help"] == spec.help
    assert {name for name in known if name.startswith("reliq_")} == {
        *(spec.name for spec in specs),
        "reliq_build_info",
        "reliq_survey_seconds",
    }


def test_the_expressions_of_the_documentation_give_one_number(
    prometheus: Prometheus, stage: Stage, redis_client: redis.Redis
) -> None:
    stage.process(ID, ("critical", "default"))
    stage.waiting("critical", 3)
    stage.waiting("default", 10)
    stage.waiting("elsewhere", 100)
    stage.jobs(f"private:{ID}:default", 2)
    stage.jobs("quarantine:critical", 1)
    redis_client.sadd("paused", "default")
    redis_client.zadd("schedule", {"a": 1})
    text = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    [query] = re.findall(r"```promql\n(.*?)```", text, re.DOTALL)
    eventually(lambda: prometheus.value(query) == 7, 10)
    [total] = re.findall(r"^ *query: (.*)$", text, re.MULTILINE)
    assert prometheus.value(total) == 107


def test_an_outage_is_not_taken_for_an_empty_queue(proxy: Proxy, open_store: OpenStore, tmp_path: Path) -> None:
    surveyor = Surveyor(open_store(proxy.url))
    with scraping(surveyor, tmp_path) as prometheus:
        eventually(lambda: prometheus.value("max(reliq_scale_jobs)") == 0, 10)
        proxy.refuse()
        proxy.cut()
        eventually(lambda: prometheus.value("reliq_redis_up") == 0, 10)
        eventually(lambda: prometheus.value("max(reliq_scale_jobs)") is None, 10)
        assert prometheus.value("up") == 1
    surveyor.close()
