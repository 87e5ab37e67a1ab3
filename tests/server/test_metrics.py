"""A worker's /metrics: true to what Redis counted, whoever is killed."""

import os
import random
import re
import shutil
import signal
import subprocess
from functools import partial

import pytest
from prometheus_client.parser import text_string_to_metric_families

from chaos.eventually import eventually
from chaos.servers import free_port
from tests.contract.places import ROOT
from tests.exporter.conftest import ask
from tests.support.fleet import Fleet

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(port: int) -> Samples:
    status, text = ask(port, "/metrics")
    assert status == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(samples: Samples, name: str, **labels: str) -> float:
    """The sum of a metric's samples with these labels."""
    return sum(
        value for (found, has), value in samples.items() if found == name and labels.items() <= dict(has).items()
    )


@pytest.fixture
def port() -> int:
    return free_port()


def options(port: int) -> list[str]:
    return ["--http", f"127.0.0.1:{port}"]


def test_it_counts_jobs_by_name_queue_and_outcome(fleet: Fleet, port: int) -> None:
    fleet.start(queues=("default", "mail"), options=options(port))
    jids = [fleet.enqueue("quick") for _ in range(7)] + [fleet.enqueue("quick", queue="mail")]
    fleet.enqueue("fail")
    fleet.enqueue("fail", retry=0)
    fleet.push(b"no json")
    fleet.done(jids)
    eventually(lambda: fleet.stat("processed") == 11, 10)

    def counted() -> bool:
        samples = scrape(port)
        return total(samples, "reliq_worker_jobs_total") == 11

    eventually(counted, 10)
    samples = scrape(port)
    of = {
        (labels["job_name"], labels["queue"], labels["outcome"]): value
        for (name, pairs), value in samples.items()
        if name == "reliq_worker_jobs_total" and (labels := dict(pairs))
    }
    assert of == {
        ("quick", "default", "done"): 7,
        ("quick", "mail", "done"): 1,
        ("fail", "default", "retried"): 1,
        ("fail", "default", "buried"): 1,
        ("other", "default", "buried"): 1,
    }
    assert total(samples, "reliq_worker_run_seconds_count", job_name="quick") == 8
    assert total(samples, "reliq_worker_wait_seconds_count", job_name="quick", queue="mail") == 1
    assert total(samples, "reliq_worker_run_seconds_bucket", job_name="quick", le="+Inf") == 8
    assert total(samples, "reliq_worker_settled_jobs_total") <= 11
    assert total(samples, "reliq_worker_slots") == 4
    assert total(samples, "reliq_worker_live") == total(samples, "reliq_worker_ready") == 1
    assert total(samples, "reliq_worker_memory_bytes") > 1e6
    assert total(samples, "reliq_worker_duty_age_seconds", duty="reaper") < 10


def test_after_a_storm_of_kills_it_has_what_redis_has(fleet: Fleet, port: int) -> None:
    """Killed at any moment, between sending a turn and its answer as well: what was applied counts, once."""
    pod = fleet.start(processes=2, options=options(port))
    dice = random.Random(20261126)
    enqueued, kills, seen = 0, 0, 0.0
    while kills < 12:
        wanted = enqueued + dice.randrange(1, 140)
        for _ in range(150):
            fleet.enqueue("quick", enqueued)
            enqueued += 1
        eventually(partial(_processed, fleet, wanted), 20)
        victims = pod.workers()
        if victims:
            os.kill(dice.choice(victims), signal.SIGKILL)
            kills += 1
        now = total(scrape(port), "reliq_worker_jobs_total")
        assert now >= seen, "a counter went backwards"
        seen = now
        pod.ready()
    fleet.drained("default", within=60)

    def agrees() -> bool:
        return total(scrape(port), "reliq_worker_jobs_total") == fleet.stat("processed")

    eventually(agrees, 10, f"{total(scrape(port), 'reliq_worker_jobs_total')} is {fleet.stat('processed')}")
    samples = scrape(port)
    assert total(samples, "reliq_worker_crashes_total", cause="SIGKILL") >= kills
    assert total(samples, "reliq_worker_processes_started_total") >= 2 + kills
    recovered = total(samples, "reliq_worker_recovered_jobs_total")
    assert bool(recovered) == bool(total(samples, "reliq_worker_recovery_seconds_count", of="child"))


def _processed(fleet: Fleet, wanted: int) -> bool:
    return fleet.stat("processed") >= wanted


def test_the_pod_that_recovers_another_says_so(fleet: Fleet, port: int) -> None:
    dead = fleet.start()
    jid = fleet.enqueue("gated", "g")
    fleet.started(jid)
    fleet.start(options=options(port))
    dead.kill()
    fleet.started(jid, within=20, times=2)
    fleet.open("g")
    fleet.done([jid])
    samples = scrape(port)
    assert total(samples, "reliq_worker_recovered_jobs_total", to="queue") == 1
    assert total(samples, "reliq_worker_recovery_seconds_count", of="pod") == 1
    assert 0 < total(samples, "reliq_worker_recovery_seconds_sum", of="pod") < 20


def test_every_metric_is_described_and_well_named(fleet: Fleet, port: int) -> None:
    pod = fleet.start(options=options(port))
    fleet.done([fleet.enqueue("quick")])
    pod.kill_worker()
    pod.ready()
    _, text = ask(port, "/metrics")
    exported = {
        (name, kind)
        for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)
        if not name.endswith("_created")
    }
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    described = set(re.findall(r"^\| `(reliq_worker_\w+)` \| (\w+) \|", page, re.MULTILINE))
    assert exported == described
    if shutil.which("promtool") is None:
        assert "CI" not in os.environ, "promtool is missing (Debian: prometheus)"
        pytest.skip("promtool is not installed")
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
