"""The report in the terminal. What colour says, words say too."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from chaos.ledger import Ledger
from chaos.report.progress import Progress, progress
from chaos.report.summary import FaultRow, Summary, late, standing, summarize
from chaos.report.words import clock, many, one_line, seconds
from chaos.verdict import Check, Finding, Recovery, Verdict

__all__ = ["Progress", "progress", "show"]

FINDINGS = 20
"""How many findings are shown; all are in report.json."""

STYLES = {
    "CLEAN": "bold green",
    "BROKEN": "bold red",
    "VOID": "bold yellow",
    "ok": "green",
    "broken": "bold red",
    "skipped": "yellow",
    "nothing judged": "yellow",
    "never": "yellow",
}


def show(ledger: Ledger, verdict: Verdict, console: Console) -> None:
    """Print the whole report."""
    summary = summarize(ledger, verdict)
    console.print(_headline(summary, verdict), soft_wrap=True)
    if verdict.checks:
        console.print(_checks(verdict.checks))
    if summary.faults:
        console.print(_faults(summary.faults))
    if verdict.recoveries:
        console.print(_recoveries(verdict.recoveries))
    # One line each, however narrow the terminal: a line that was cut cannot be searched for.
    for line in (*_void(verdict.void), *_findings(verdict.findings, summary.began)):
        console.print(line, soft_wrap=True)


def _headline(summary: Summary, verdict: Verdict) -> Text:
    text = Text()
    text.append(summary.word, STYLES[summary.word])
    text.append(f"  {one_line(summary.headline)}", "bold")
    parts = [many(summary.sent, "job"), many(summary.runs, "run"), many(summary.kills, "kill")]
    parts += [clock(summary.ended - summary.began), many(len(verdict.findings), "finding")]
    text.append(f": {', '.join(parts)}")
    return text


def _table(*columns: str, numbers: tuple[str, ...] = (), title: str) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        title=title,
        title_justify="left",
        title_style="bold",
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for column in columns:
        right = column in numbers
        # Names and numbers stay whole; what is longer than the line is the promise, and that may wrap.
        table.add_column(column, justify="right" if right else "left", no_wrap=column != "promise")
    return table


def _checks(checks: tuple[Check, ...]) -> Table:
    table = _table("check", "", "judged", "findings", "promise", numbers=("judged", "findings"), title="Checks")
    for check in checks:
        word = standing(check)
        skipped = f" (skipped: {one_line(check.skipped)})" if check.skipped else ""
        table.add_row(
            Text(one_line(check.name)),
            Text(word, STYLES[word]),
            f"{check.judged:,}",
            f"{len(check.findings):,}",
            Text.assemble(one_line(check.promise), (skipped, STYLES["skipped"])),
        )
    return table


def _faults(rows: tuple[FaultRow, ...]) -> Table:
    numbers = ("fired", "in flight", "runs again")
    table = _table("fault", "harm", *numbers, "", numbers=numbers, title="Faults")
    for row in rows:
        said = "never in flight" if row.missing else f"{row.observed} seen, not armed" if row.observed else ""
        table.add_row(
            Text(one_line(row.name)),
            row.harm,
            f"{row.fired:,}",
            f"{row.in_flight:,}",
            f"{row.again:,}",
            Text(said, STYLES["never"] if row.missing else ""),
        )
    return table


def _recoveries(recoveries: tuple[Recovery, ...]) -> Table:
    numbers = ("jobs", "p50", "p99", "worst", "bound", "bounded")
    table = _table("recovery", *numbers, "", numbers=numbers, title="Time from a fault to the job's next run")
    for recovery in recoveries:
        over = len(late(recovery))
        times = [recovery.median, recovery.at(0.99), recovery.at(1.0)]
        table.add_row(
            Text(one_line(recovery.kind)),
            f"{len(recovery.seconds):,}",
            *(seconds(time) if recovery.seconds else "-" for time in times),
            "-" if recovery.bound is None else seconds(recovery.bound),
            f"{len(recovery.bounded):,}",
            Text(f"{over:,} late" if over else "", STYLES["broken"]),
        )
    return table


def _void(reasons: tuple[str, ...]) -> list[Text]:
    return [Text.assemble(("VOID ", STYLES["VOID"]), one_line(reason)) for reason in reasons]


def _findings(findings: list[tuple[str, Finding]], began: float) -> list[Text]:
    lines = [_finding(name, finding, began) for name, finding in findings[:FINDINGS]]
    if len(findings) > FINDINGS:
        lines.append(Text(f"and {len(findings) - FINDINGS:,} more in report.json"))
    return lines


def _finding(name: str, finding: Finding, began: float) -> Text:
    about = "" if finding.token is None else f" job {finding.token}"
    when = "" if finding.at is None else f" at {clock(finding.at - began)}"
    return Text.assemble((f"{one_line(name)}{about}{when}", STYLES["broken"]), f": {one_line(finding.what)}")
