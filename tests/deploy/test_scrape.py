"""A real Prometheus scrapes a real worker and a real exporter, and evaluates the alerts of deploy/."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.eventually import eventually
from chaos.servers import Server, free_port
from tests.contract.places import ROOT
from tests.support.fleet import Fleet
from tests.support.prometheus import Prometheus, needs_prometheus

pytestmark = needs_prometheus
RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"


@pytest.fixture
def fleet(server: Server) -> Iterator[Fleet]:
    """On the shared server."""
    with Fleet(server.url) as made:
        yield made


@pytest.fixture
def prometheus(fleet: Fleet, tmp_path: Path) -> Iterator[Prometheus]:
    """It scrapes a worker and an exporter of this fleet."""
    worker, exporter = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    fleet.start(options=("--http", worker))
    program = fleet.begin("exporter", "--url", fleet.url, "--http", exporter)
    made = Prometheus(tmp_path, {"reliq-worker": worker, "reliq-exporter": exporter}, [RULES])
    try:
        eventually(made.up, 20, "both are scraped")
        yield made
    finally:
        made.close()
        program.terminate()
        program.communicate(timeout=20)


def test_what_ran_is_counted_under_its_name(prometheus: Prometheus, fleet: Fleet) -> None:
    jids = [fleet.enqueue("quick") for _ in range(3)]
    fleet.enqueue("fail", retry=False)
    fleet.done(jids)
    done = 'reliq_worker_jobs_total{job="reliq-worker", job_name="quick", queue="default", outcome="done"}'
    eventually(lambda: prometheus.value(done) == 3, 10, "three jobs are done")
    eventually(
        lambda: prometheus.value("sum(reliq_worker_jobs_total)") == prometheus.value("reliq_processed_total") == 4, 10
    )
    assert prometheus.value("reliq_worker_live") == 1
    assert prometheus.value("count(reliq_worker_memory_bytes)") == 1


def test_it_evaluates_every_alert(prometheus: Prometheus) -> None:
    def rules() -> list[dict[str, str]]:
        (group,) = prometheus.ask("rules")["groups"]
        found: list[dict[str, str]] = group["rules"]
        return found

    eventually(lambda: all(rule["health"] == "ok" for rule in rules()), 10, "all are evaluated")
    assert len(rules()) == RULES.read_text(encoding="utf-8").count("- alert: ")
    # One may have been pending from before the first scrape. A fleet in good health has none, not even a pending one.
    eventually(lambda: prometheus.ask("alerts")["alerts"] == [], 10, "no alert is left")
