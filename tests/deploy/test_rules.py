"""The alerts: promtool takes them, each fires when it should and not a little before, and each is explained."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml

from tests.contract.places import ROOT

RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"
OPERATIONS = ROOT / "docs" / "operations.md"
METRICS = ROOT / "docs" / "metrics.md"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None and "CI" not in os.environ, reason="promtool is not installed"
)


def alerts() -> dict[str, dict[str, Any]]:
    """Name to rule."""
    (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


@attrs.frozen
class Case:
    """What happens, a value a minute as promtool writes them, and what nearly is the same. Both are looked at `at`."""

    fires: dict[str, str]
    quiet: dict[str, str]
    at: str = "30m"


POD = 'job="reliq-worker", instance="10.0.0.1:9797"'
IDLE = {"reliq_redis_up": "1x60"}
"""What keeps the alert about a missing exporter out of the others' way."""

CASES = {
    "ReliqExporterAbsent": Case({"unrelated": "1x60"}, {"reliq_redis_up": "0x60"}),
    "ReliqRedisDown": Case({"reliq_redis_up": "1x20 0x40"}, {"reliq_redis_up": "1x29 0x40"}),
    "ReliqNobodyWorks": Case(
        {"reliq_scale_jobs": "5x60", "reliq_processes": "0x60"}, {"reliq_scale_jobs": "0x60", "reliq_processes": "0x60"}
    ),
    "ReliqJobsWait": Case(
        {'reliq_queue_latency_seconds{queue="mail"}': "301x60", 'reliq_queue_paused{queue="mail"}': "0x60"},
        {'reliq_queue_latency_seconds{queue="mail"}': "301x60", 'reliq_queue_paused{queue="mail"}': "1x60"},
    ),
    "ReliqWorkerStuck": Case(
        {f"reliq_worker_live{{{POD}}}": "1x20 0x40"}, {f"reliq_worker_live{{{POD}}}": "1x20 0x7 1x40"}
    ),
    "ReliqOrphanedJobs": Case({"reliq_orphaned_jobs": "1x60"}, {"reliq_orphaned_jobs": "0x28 3 3 0x30"}),
    "ReliqDueJobsWait": Case({"reliq_due_jobs": "1x60"}, {"reliq_due_jobs": "0x28 3 3 0x30"}),
    "ReliqDutyLags": Case(
        {f'reliq_worker_duty_age_seconds{{{POD}, duty="reaper"}}': "31x60"},
        {f'reliq_worker_duty_age_seconds{{{POD}, duty="reaper"}}': "30x60"},
    ),
    "ReliqRedisRefuses": Case(
        {f'reliq_worker_refusals_total{{{POD}, code="OOM"}}': "0x20 0+1x40"},
        {f'reliq_worker_refusals_total{{{POD}, code="OOM"}}': "7x60"},
    ),
    "ReliqProcessesCrash": Case(
        {f'reliq_worker_crashes_total{{{POD}, cause="SIGKILL"}}': "0x20 0+1x40"},
        {f'reliq_worker_crashes_total{{{POD}, cause="SIGKILL"}}': "0x20 1x2 2x40"},
    ),
    "ReliqQuarantine": Case(
        {'reliq_quarantine_jobs{queue="mail"}': "1x60"}, {'reliq_quarantine_jobs{queue="mail"}': "0x20 1x40"}
    ),
    "ReliqLateJobs": Case(
        {f"reliq_worker_late_jobs_total{{{POD}}}": "0x20 1x40"}, {f"reliq_worker_late_jobs_total{{{POD}}}": "1x60"}
    ),
    "ReliqJobsFail": Case(
        {"reliq_failed_total": "0+12x60", "reliq_processed_total": "0+100x60"},
        {"reliq_failed_total": "0+9x60", "reliq_processed_total": "0+100x60"},
    ),
    "ReliqJobsBuried": Case(
        {f'reliq_worker_jobs_total{{{POD}, job_name="mail", queue="q", outcome="buried"}}': "0x20 1x40"},
        {f'reliq_worker_jobs_total{{{POD}, job_name="mail", queue="q", outcome="retried"}}': "0x20 1x40"},
    ),
    "ReliqDeadJobsTrimmed": Case({"reliq_trimmed_total": "0x20 1x40"}, {"reliq_trimmed_total": "5x60"}),
    "ReliqQueuePaused": Case(
        {'reliq_queue_paused{queue="mail"}': "1x90"}, {'reliq_queue_paused{queue="mail"}': "0x40 1x50"}, at="70m"
    ),
    "ReliqVersionsDiffer": Case(
        {'reliq_worker_build_info{version="1"}': "1x200", 'reliq_worker_build_info{version="2"}': "1x200"},
        {
            'reliq_worker_build_info{version="1", instance="a"}': "1x200",
            'reliq_worker_build_info{version="1"}': "1x200",
        },
        at="150m",
    ),
}


def promtool(*words: str) -> None:
    done = subprocess.run(["promtool", *words], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def trial(name: str, case: Case, *, fires: bool) -> dict[str, Any]:
    """One test as promtool reads it: whether the alert fires, whatever its labels are."""
    series = {**({} if name == "ReliqExporterAbsent" else IDLE), **(case.fires if fires else case.quiet)}
    expected = [{"labels": f'{{alertname="{name}"}}', "value": 1}] if fires else []
    query = f'count by (alertname) (ALERTS{{alertname="{name}", alertstate="firing"}})'
    return {
        "name": f"{name} {'fires' if fires else 'is quiet'}",
        "interval": "1m",
        "input_series": [{"series": one, "values": values} for one, values in series.items()],
        "promql_expr_test": [{"expr": query, "eval_time": case.at, "exp_samples": expected}],
    }


@needs_promtool
def test_promtool_takes_the_rules() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))


@needs_promtool
@pytest.mark.parametrize("name", CASES)
def test_an_alert_fires_when_it_should_and_only_then(name: str, tmp_path: Path) -> None:
    trials = [trial(name, CASES[name], fires=fires) for fires in (True, False)]
    suite = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": trials}
    path = tmp_path / "rules_test.yaml"
    path.write_text(yaml.safe_dump(suite), encoding="utf-8")
    promtool("test", "rules", str(path))


def test_every_alert_is_tried() -> None:
    assert set(CASES) == set(alerts())


@pytest.mark.parametrize("name", sorted(CASES))
def test_an_alert_says_what_and_how_bad(name: str) -> None:
    rule = alerts()[name]
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert set(rule["annotations"]) == {"summary", "description"}


def test_operations_has_a_heading_for_each_alert_and_no_other() -> None:
    headings = re.findall(r"^### (Reliq\w+)$", OPERATIONS.read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == list(alerts())


def known_metrics() -> set[str]:
    """The names in the tables of docs/metrics.md, which tests compare with what is printed; histograms by part."""
    rows = re.findall(r"^\| `(reliq_\w+)` \| (\w+) \|", METRICS.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) > 40
    parts = ("_bucket", "_sum", "_count")
    return {name + part for name, kind in rows for part in (parts if kind == "histogram" else ("",))}


@pytest.mark.parametrize("name", sorted(CASES))
def test_an_alert_asks_for_metrics_that_exist(name: str) -> None:
    asked = set(re.findall(r"\breliq_\w+", alerts()[name]["expr"]))
    assert asked
    assert asked <= known_metrics()


def test_the_operator_s_object_has_the_same_rules() -> None:
    path = ROOT / "deploy" / "kubernetes" / "components" / "monitoring" / "rules.yaml"
    spec = yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]
    assert spec == yaml.safe_load(RULES.read_text(encoding="utf-8"))
