"""The report in the terminal, and the progress of a run."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from chaos.ledger import Ledger
from chaos.report.terminal import FINDINGS, progress, show
from chaos.verdict import Finding, Verdict
from tests.chaos import report_ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A run of two minutes."""
    with report_ledger.build(tmp_path / "ledger.sqlite", minutes=2, jobs=800, faults=60) as built:
        yield built


def shown(ledger: Ledger, verdict: Verdict, *, width: int = 100) -> list[str]:
    """The lines of the report where there is no terminal."""
    file = io.StringIO()
    show(ledger, verdict, Console(file=file, width=width))
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 200])
def test_names_every_check_fault_and_recovery(ledger: Ledger, width: int) -> None:
    verdict = report_ledger.broken(ledger)
    lines = shown(ledger, verdict, width=width)
    standing = {"no-loss": "broken", "duplicates": "broken", "leaks": "broken", "counters": "skipped"}
    for check in verdict.checks:
        row = next(line.split() for line in lines if line.startswith(f" {check.name} "))
        assert row[1:4] == [standing.get(check.name, "ok"), f"{check.judged:,}", str(len(check.findings))]
    for name in {fault.name for fault in ledger.faults()}:
        row = next(line.split() for line in lines if line.startswith(f" {name} "))
        assert int(row[2]) == len([fault for fault in ledger.faults() if fault.name == name])
    for recovery in verdict.recoveries:
        row = next(line.split() for line in lines if line.startswith(f" {recovery.kind} "))
        assert int(row[1]) == len(recovery.seconds)
    assert "2 late" in "\n".join(lines)


def test_the_headline(ledger: Ledger) -> None:
    kills = len([fault for fault in ledger.faults() if fault.harm == "dead" and not fault.observed])
    first = shown(ledger, report_ledger.clean(ledger))[0]
    assert first.startswith("CLEAN  mixed, seed 20031: 800 jobs, ")
    assert f" {kills} kills, " in first
    assert first.endswith(" 0 findings")


def test_findings_have_a_line_each_however_narrow(ledger: Ledger) -> None:
    verdict = report_ledger.broken(ledger)
    lines = shown(ledger, verdict, width=40)
    for name, finding in verdict.findings[:FINDINGS]:
        mine = [line for line in lines if line.endswith(finding.what)]
        assert len(mine) == 1
        assert mine[0].startswith(f"{name} job {finding.token}")
    assert lines[-1] == f"and {len(verdict.findings) - FINDINGS} more in report.json"


def test_reasons_why_it_is_void(ledger: Ledger) -> None:
    verdict = report_ledger.void(ledger)
    lines = shown(ledger, verdict)
    assert lines[0].startswith("VOID")
    assert lines[-len(verdict.void) :] == [f"VOID {reason}" for reason in verdict.void]


def test_an_empty_run_can_be_shown(tmp_path: Path) -> None:
    ledger, verdict = report_ledger.empty(tmp_path / "ledger.sqlite")
    with ledger:
        lines = shown(ledger, verdict)
    assert lines[0].startswith("VOID  nothing, seed 20031: 0 jobs, 0 runs, 0 kills, 0:00")


def test_what_the_ledger_says_is_no_markup(tmp_path: Path) -> None:
    ledger, verdict = report_ledger.empty(tmp_path / "ledger.sqlite")
    check = verdict.checks[0]
    hostile = type(check)(
        name="[red]name[/red]",
        promise="p",
        judged=1,
        findings=(Finding(what="[bold]two\nlines\x1b[2J[/bold]", token=7),),
    )
    with ledger:
        lines = shown(ledger, Verdict(checks=(hostile,), void=(), recoveries=(), counts={}))
    assert lines[-1] == "[red]name[/red] job 7: [bold]two lines [2J[/bold]"


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_without_a_terminal_progress_is_a_line_each_half_minute() -> None:
    clock, file = Clock(), io.StringIO()
    with progress(Console(file=file, width=40), 5, clock=clock) as bar:
        for second in range(301):
            clock.now = 100.0 + second
            bar.update(phase="faults [a]", sent=second, done=second, faults=second // 10, pods=4)
    lines = file.getvalue().splitlines()
    assert len(lines) == 11
    assert lines[0] == "faults [a]  0/0 jobs  0 faults  4 pods  0:00, 5:00 left"
    assert lines[1] == "faults [a]  30/30 jobs  3 faults  4 pods  0:30, 4:30 left"
    assert lines[-1] == "faults [a]  300/300 jobs  30 faults  4 pods  5:00"


def test_on_a_terminal_progress_is_a_bar() -> None:
    clock, file = Clock(), io.StringIO()
    console = Console(file=file, width=100, force_terminal=True, no_color=True)
    with progress(console, 30, clock=clock) as bar:
        clock.now += 600
        bar.update(phase="drain [b]", sent=1200, done=1100, faults=7, pods=3)
    last = file.getvalue().split("\r")[-1]
    assert "drain [b]" in last
    assert "1,100/1,200 jobs  7 faults  3 pods" in last
    assert "10:00, 20:00 left" in last
    assert last.index("━") < last.index("1,100")
