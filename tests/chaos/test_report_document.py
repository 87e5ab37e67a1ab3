"""report.json says what the verdict says."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.ledger import Ledger
from chaos.records import FaultRecord
from chaos.report import write
from chaos.report.document import document
from chaos.report.summary import word
from chaos.verdict import Check, Finding, Verdict
from reliq import __version__
from tests.chaos import report_ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A run of two minutes."""
    with report_ledger.build(tmp_path / "ledger.sqlite", minutes=2, jobs=800, faults=60) as built:
        yield built


def test_what_is_written_is_the_document(ledger: Ledger, tmp_path: Path) -> None:
    verdict = report_ledger.broken(ledger)
    path = write(ledger, verdict, tmp_path / "deep" / "report")
    assert path == tmp_path / "deep" / "report" / "report.html"
    assert json.loads(path.with_name("report.json").read_text()) == document(ledger, verdict)


def test_agrees_with_the_verdict(ledger: Ledger) -> None:
    verdict = report_ledger.broken(ledger)
    data = document(ledger, verdict)
    assert (data["verdict"], data["ok"], data["void"]) == ("BROKEN", False, [])
    assert data["counts"] == verdict.counts
    began = min(event.at for event in ledger.pod_events())
    for check, said in zip(verdict.checks, data["checks"], strict=True):
        assert (said["name"], said["promise"], said["judged"]) == (check.name, check.promise, check.judged)
        assert [(one["what"], one["token"]) for one in said["findings"]] == [
            (finding.what, finding.token) for finding in check.findings
        ]
        for finding, one in zip(check.findings, said["findings"], strict=True):
            assert one["at"] == (None if finding.at is None else pytest.approx(finding.at - began, abs=1e-5))
    for recovery, said in zip(verdict.recoveries, data["recoveries"], strict=True):
        times = sorted(recovery.seconds)
        assert (said["kind"], said["jobs"], said["bound"]) == (recovery.kind, len(times), recovery.bound)
        assert said["worst"] == (times[-1] if times else 0.0)
        assert said["p50"] <= said["p90"] <= said["p99"] <= said["worst"]
    assert [said["late"] for said in data["recoveries"]] == [2, 0, 0, 0, 0]


def test_agrees_with_the_ledger(ledger: Ledger) -> None:
    data = document(ledger, report_ledger.clean(ledger))
    faults = ledger.faults()
    runs = ledger.runs()
    assert data["jobs"] == {
        "sent": 800,
        "done": len({run.token for run in runs if run.outcome == "done"}),
        "runs": len(runs),
    }
    assert data["kills"] == len([fault for fault in faults if fault.harm == "dead" and not fault.observed]) > 0
    assert sum(row["fired"] for row in data["faults"].values()) == len(faults) == 60
    child = [fault for fault in faults if fault.name == "kill-child"]
    assert data["faults"]["kill-child"] == {
        "harm": "dead",
        "armed": True,
        "fired": len(child),
        "in_flight": len([fault for fault in child if fault.in_flight]),
        "observed": 0,
        "again": 700,
    }
    assert data["settings"]["seed"] == ledger.settings().seed
    assert data["settings"]["armed"] == list(ledger.settings().armed)
    assert data["durations"]["drain"] == pytest.approx(4.0)
    assert data["durations"]["faults"] == pytest.approx(120 - 12, abs=0.2)
    assert (data["server_version"], data["reliq_version"]) == ("valkey 9.1.0", __version__)
    assert set(data["machine"]) == {"python", "cpus", "platform"}


def test_the_machine_is_that_of_the_run(ledger: Ledger) -> None:
    ledger.say("machine", {"python": "3.14.0", "cpus": 96, "platform": "elsewhere"})
    assert document(ledger, report_ledger.clean(ledger))["machine"]["cpus"] == 96


def test_a_run_that_did_not_end_has_no_durations_of_its_end(tmp_path: Path) -> None:
    ledger, verdict = report_ledger.empty(tmp_path / "ledger.sqlite")
    with ledger:
        ledger.add_fault(FaultRecord(number=1, name="kill-pod", target="pod-1-1", harm="dead", at=5.0, in_flight=3))
        data = document(ledger, verdict)
    assert data["durations"] == {"run": 0.0, "faults": None, "drain": None, "drain_within": None}
    assert data["faults"]["kill-pod"]["in_flight"] == 1


def test_one_word() -> None:
    sound = Check(name="a", promise="b", judged=1)
    broken = Check(name="a", promise="b", judged=1, findings=(Finding(what="c"),))

    def said(check: Check, *void: str) -> str:
        return word(Verdict(checks=(check,), void=void, recoveries=(), counts={}))

    assert said(sound) == "CLEAN"
    assert said(sound, "too short") == "VOID"
    assert said(broken) == "BROKEN"
    assert said(broken, "too short") == "BROKEN", "what was found stays found"
