"""The report as one page that needs nothing else: no script, no font, no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from chaos.ledger import Ledger
from chaos.report.histogram import histograms
from chaos.report.legend import SHAPES, legend
from chaos.report.markup import Markup, join, tag
from chaos.report.summary import Summary, late, standing, summarize
from chaos.report.timeline import LINKS, Story, timeline
from chaos.report.words import clock, seconds
from chaos.verdict import Finding, Verdict

SHOWN, LISTED = 20, 500
"""How many findings are seen at once, and how many are on the page at all; report.json has every one."""

STYLE = Path(__file__).with_name("page.css")

SENTENCES = {
    "CLEAN": "Every promise that was judged held.",
    "BROKEN": "A promise was broken.",
    "VOID": "Nothing was found, but this run proves nothing.",
}


def page(ledger: Ledger, verdict: Verdict) -> str:
    """The whole page."""
    summary = summarize(ledger, verdict)
    body = (
        SHAPES,
        _head(summary, verdict),
        _void(verdict),
        _findings(verdict.findings, summary.began),
        _checks(verdict),
        _timeline(ledger, summary, verdict),
        _faults(summary),
        _recoveries(verdict),
        _numbers(summary, verdict),
    )
    head = (
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{summary.word}: {summary.headline}"),
        tag("style", Markup(STYLE.read_text(encoding="utf-8"))),
    )
    document = tag("html", tag("head", *head), tag("body", tag("main", *body)), lang="en")
    return f"<!DOCTYPE html>\n{document}\n"


def _head(summary: Summary, verdict: Verdict) -> Markup:
    facts = [
        ("jobs", f"{summary.sent:,}"),
        ("runs", f"{summary.runs:,}"),
        ("kills", f"{summary.kills:,}"),
        ("faults", f"{sum(row.fired for row in summary.faults):,}"),
        ("findings", f"{len(verdict.findings):,}"),
        ("length", clock(summary.ended - summary.began)),
    ]
    return tag(
        "header",
        tag("p", " · ".join(("reliq chaos run", *summary.builds)), class_="kicker"),
        tag("h1", *_title(summary)),
        tag("p", tag("strong", summary.word), " ", SENTENCES[summary.word], class_=f"verdict {summary.word.lower()}"),
        tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in facts), class_="facts"),
    )


def _title(summary: Summary) -> tuple[str, ...]:
    settings = summary.settings
    return (summary.headline,) if settings is None else (settings.scenario, " ", tag("span", f"seed {settings.seed}"))


def _void(verdict: Verdict) -> Markup:
    if not verdict.void:
        return Markup()
    return _section("Why it does not count", tag("ul", *(tag("li", reason) for reason in verdict.void)))


def _findings(findings: list[tuple[str, Finding]], began: float) -> Markup:
    if not findings:
        return Markup()
    rows = [
        (
            name,
            "" if finding.token is None else str(finding.token),
            "" if finding.at is None else clock(finding.at - began),
            finding.what,
        )
        for name, finding in findings[:LISTED]
    ]
    head = ("check", "#job", "#at", "~what")
    more, unlisted = rows[SHOWN:], len(findings) - len(rows)
    return _section(
        "Findings",
        _table(head, rows[:SHOWN], marked="bad"),
        tag("details", tag("summary", f"{len(more):,} more"), _table(head, more, marked="bad")) if more else "",
        tag("p", f"And {unlisted:,} more in report.json.") if unlisted else "",
    )


def _checks(verdict: Verdict) -> Markup:
    rows = []
    for check in verdict.checks:
        word = standing(check)
        stood = tag("span", word, class_={"ok": "good", "broken": "bad"}.get(word, "unsure"))
        skipped = tag("span", f" (skipped: {check.skipped})", class_="unsure") if check.skipped else ""
        promise = join([check.promise, skipped])
        # The promise comes last, so that a phone shows what became of it.
        rows.append((check.name, stood, f"{check.judged:,}", f"{len(check.findings):,}", promise))
    return _section("Checks", _table(("check", "standing", "#judged", "#findings", "~promise"), rows))


def _timeline(ledger: Ledger, summary: Summary, verdict: Verdict) -> Markup:
    story = Story(
        began=summary.began,
        ended=summary.ended,
        runs=ledger.runs(),
        faults=ledger.faults(),
        events=ledger.pod_events(),
        findings=verdict.findings,
        final=summary.final,
    )
    note = (
        "One lane for each pod, one bar for each start of it: pale until its workers had registered, and again once it "
        "was told to go. In the bar, the jobs that it finished. A line leads from a kill to the next run of a job that "
        f"it struck, for the {LINKS} that waited longest."
    )
    return _section("Timeline", tag("p", note, class_="note"), timeline(story), legend())


def _faults(summary: Summary) -> Markup:
    rows = []
    for row in summary.faults:
        said: str = f"{row.observed:,} seen, not armed" if row.observed else ""
        if row.missing:
            said = tag("span", "never in flight", class_="unsure")
        numbers = (f"{row.fired:,}", f"{row.in_flight:,}", f"{row.again:,}")
        rows.append((row.name, tag("span", row.harm, class_=f"harm {row.harm}"), *numbers, said))
    if not rows:
        return _section("Faults", tag("p", "None, and none were armed."))
    head = ("fault", "harm", "#fired", "#in flight", "#runs again", "")
    note = "In flight are those that struck while jobs ran; only they prove anything."
    return _section("Faults", tag("p", note, class_="note"), _table(head, rows))


def _recoveries(verdict: Verdict) -> Markup:
    if not verdict.recoveries:
        return _section("Recovery", tag("p", "No job had to be recovered."))
    rows = []
    for recovery in verdict.recoveries:
        over = len(late(recovery))
        times = (recovery.median, recovery.at(0.99), recovery.at(1.0))
        rows.append(
            (
                recovery.kind,
                f"{len(recovery.seconds):,}",
                *(seconds(time) if recovery.seconds else "" for time in times),
                "" if recovery.bound is None else seconds(recovery.bound),
                f"{len(recovery.bounded):,}",
                tag("span", f"{over:,} late", class_="bad") if over else "",
            )
        )
    head = ("kind", "#jobs", "#p50", "#p99", "#worst", "#bound", "#bounded", "")
    note = (
        "From a fault to the next run of a job that it struck. Bounded are those that nothing else disturbed: "
        "only they are held against the bound, and they are the solid part of the bars."
    )
    return _section("Recovery", tag("p", note, class_="note"), _table(head, rows), histograms(verdict.recoveries))


def _numbers(summary: Summary, verdict: Verdict) -> Markup:
    settings = (
        {name: _value(value) for name, value in attrs.asdict(summary.settings).items()} if summary.settings else {}
    )
    machine = {name: _value(value) for name, value in summary.machine.items()}
    ran_on = {"reliq": summary.version, "server": summary.server} | machine
    counts = {name: f"{value:,}" for name, value in verdict.counts.items()}
    lists = [("Counts", counts), ("Settings", settings), ("Ran on", ran_on)]
    columns = [tag("section", tag("h2", title), _pairs(values)) for title, values in lists if values]
    return tag("div", *columns, class_="columns")


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _section(title: str, *content: str) -> Markup:
    return tag("section", tag("h2", title), *content)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], marked: str = "") -> Markup:
    """A table that scrolls in its own box. A head's first letter says how its column reads: # numbers, ~ sentences."""
    kinds = [{"#": "number", "~": "sentence"}.get(name[:1]) for name in head]
    heads = [tag("th", name.lstrip("#~"), class_=kind, scope="col") for name, kind in zip(head, kinds, strict=True)]
    lines = [
        tag("tr", *(tag("td", cell, class_=kind) for cell, kind in zip(row, kinds, strict=True)), class_=marked or None)
        for row in rows
    ]
    wide = "wide" if "sentence" in kinds else None
    table = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *lines), class_=wide)
    return tag("div", table, class_="scroll", tabindex=0)


def _pairs(values: dict[str, str]) -> Markup:
    return tag("dl", *(join([tag("dt", name), tag("dd", value)]) for name, value in values.items()), class_="pairs")
