"""The report as data, for programs that compare runs."""

from __future__ import annotations

from typing import Any

import attrs

from chaos.ledger import Ledger
from chaos.records import Settings
from chaos.report.summary import Summary, late, standing, summarize
from chaos.verdict import Check, Recovery, Verdict


def document(ledger: Ledger, verdict: Verdict) -> dict[str, Any]:
    """Everything of the report, fit for JSON. Moments are seconds since the run began, durations are seconds."""
    summary = summarize(ledger, verdict)
    return {
        "verdict": summary.word,
        "ok": verdict.ok,
        "void": list(verdict.void),
        "settings": _settings(summary.settings),
        "jobs": {"sent": summary.sent, "done": summary.done, "runs": summary.runs},
        "kills": summary.kills,
        "counts": dict(verdict.counts),
        "checks": [_check(check, summary.began) for check in verdict.checks],
        "recoveries": [_recovery(recovery) for recovery in verdict.recoveries],
        "faults": {row.name: _without_name(attrs.asdict(row)) for row in summary.faults},
        "durations": _durations(summary),
        "server_version": summary.server,
        "reliq_version": summary.version,
        "machine": summary.machine,
    }


def _settings(settings: Settings | None) -> dict[str, Any] | None:
    return None if settings is None else attrs.asdict(settings) | {"armed": list(settings.armed)}


def _check(check: Check, began: float) -> dict[str, Any]:
    return {
        "name": check.name,
        "promise": check.promise,
        "standing": standing(check),
        "judged": check.judged,
        "skipped": check.skipped,
        "findings": [
            {
                "what": finding.what,
                "token": finding.token,
                "at": None if finding.at is None else round(finding.at - began, 6),
            }
            for finding in check.findings
        ],
    }


def _recovery(recovery: Recovery) -> dict[str, Any]:
    return {
        "kind": recovery.kind,
        "jobs": len(recovery.seconds),
        "p50": recovery.median,
        "p90": recovery.at(0.90),
        "p99": recovery.at(0.99),
        "worst": recovery.at(1.0),
        "bound": recovery.bound,
        "bounded": len(recovery.bounded),
        "late": len(late(recovery)),
    }


def _durations(summary: Summary) -> dict[str, float | None]:
    """Of the whole run, up to the last fault, and from there until nothing was left to do."""
    final = summary.final
    return {
        "run": round(summary.ended - summary.began, 6),
        "faults": None if final is None else round(final.faults_ended_at - summary.began, 6),
        "drain": None if final is None or final.drained_at is None else final.drained_at - final.faults_ended_at,
        "drain_within": None if final is None else final.drain_within,
    }


def _without_name(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "name"}
