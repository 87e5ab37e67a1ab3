"""What a report says of a run, as values: the terminal, the page and the document all say the same."""

from __future__ import annotations

import os
import platform
from collections import defaultdict
from typing import Any, Literal

import attrs

from chaos.ledger import Ledger
from chaos.records import FaultRecord, Final, Settings
from chaos.verdict import Check, Recovery, Verdict
from reliq import __version__

Word = Literal["CLEAN", "BROKEN", "VOID"]
"""Nothing was found; something was found; nothing was found, but the run does not count."""

AGAIN = "again: "
"""What the verdict's counts of second runs begin with; the name of the cause follows, a fault's for instance."""


@attrs.frozen(kw_only=True)
class FaultRow:
    """All faults of one name."""

    name: str
    harm: str
    """`none`, `dead`, `held`, `undone`; several with commas; empty if it never fired."""
    armed: bool
    fired: int
    in_flight: int
    """How many of them fired while jobs ran."""
    observed: int
    """How many of them nobody had armed."""
    again: int
    """Runs that the oracle explains by one of them."""

    @property
    def missing(self) -> bool:
        """Whether the run had to see it with jobs in flight and did not."""
        return self.armed and not self.in_flight


@attrs.frozen(kw_only=True)
class Summary:
    """A run in short."""

    word: Word
    settings: Settings | None
    """None: the run never began."""
    sent: int
    runs: int
    done: int
    """Jobs with a run that returned."""
    kills: int
    """Armed faults that ended processes."""
    faults: tuple[FaultRow, ...]
    began: float
    ended: float
    """The first and the last moment that the ledger knows, by `chaos.records.now`."""
    final: Final | None
    server: str
    version: str
    machine: dict[str, Any]
    """`python`, `cpus`, `platform`."""

    @property
    def headline(self) -> str:
        """The scenario and its seed."""
        return f"{self.settings.scenario}, seed {self.settings.seed}" if self.settings else "a run that never began"

    @property
    def builds(self) -> tuple[str, ...]:
        """What ran: the revision, that of old pods if it was another, the server."""
        if self.settings is None:
            return ()
        old = (f"old pods {self.settings.old}",) if self.settings.old else ()
        return (f"revision {self.settings.revision}", *old, self.server)


def summarize(ledger: Ledger, verdict: Verdict) -> Summary:
    """The run in short."""
    settings = ledger.settings() if ledger.fact("settings") else None
    faults = ledger.faults()
    began, ended = _span(ledger)
    return Summary(
        word=word(verdict),
        settings=settings,
        sent=_number(ledger, "select count(*) from sent"),
        runs=_number(ledger, "select count(*) from runs"),
        done=_number(ledger, "select count(distinct token) from runs where outcome = 'done'"),
        kills=sum(fault.harm == "dead" and not fault.observed for fault in faults),
        faults=_fault_rows(settings.armed if settings else (), faults, verdict.counts),
        began=began,
        ended=ended,
        final=ledger.final(),
        server=str(ledger.fact("server_version", "unknown")),
        version=__version__,
        machine=ledger.fact("machine") or machine(),
    )


def word(verdict: Verdict) -> Word:
    """The verdict in one word. What was found stays found, also in a run that does not count."""
    return "BROKEN" if verdict.findings else "VOID" if verdict.void else "CLEAN"


def standing(check: Check) -> str:
    """What became of a check: `ok`, `broken`, `skipped`, `nothing judged`."""
    if not check.ok:
        return "broken"
    if check.skipped:
        return "skipped"
    return "ok" if check.judged else "nothing judged"


def late(recovery: Recovery) -> list[float]:
    """The times that went beyond the bound."""
    return [] if recovery.bound is None else [time for time in recovery.bounded if time > recovery.bound]


def machine() -> dict[str, Any]:
    """This machine and its Python. A run notes it as the fact `machine`, for reports that are written elsewhere."""
    return {"python": platform.python_version(), "cpus": os.cpu_count(), "platform": platform.platform()}


def _fault_rows(armed: tuple[str, ...], faults: list[FaultRecord], counts: dict[str, int]) -> tuple[FaultRow, ...]:
    by_name: defaultdict[str, list[FaultRecord]] = defaultdict(list)
    for fault in faults:
        by_name[fault.name].append(fault)
    names = sorted({*by_name, *armed}, key=lambda name: (-len(by_name[name]), name))
    return tuple(
        FaultRow(
            name=name,
            harm=", ".join(sorted({fault.harm for fault in by_name[name]})),
            armed=name in armed,
            fired=len(by_name[name]),
            in_flight=sum(fault.in_flight > 0 for fault in by_name[name]),
            observed=sum(fault.observed for fault in by_name[name]),
            again=counts.get(f"{AGAIN}{name}", 0),
        )
        for name in names
    )


def _span(ledger: Ledger) -> tuple[float, float]:
    moments = [
        moment
        for sql in (
            "select min(sent_at), max(coalesce(known_at, sent_at)) from sent",
            "select min(started_at), max(coalesce(ended_at, started_at)) from runs",
            "select min(at), max(coalesce(ended_at, at)) from faults",
            "select min(at), max(at) from pods",
            "select min(started_at), max(ended_at) from audits",
        )
        for moment in ledger.rows(sql)[0]
        if moment is not None
    ]
    final = ledger.final()
    if final is not None:
        moments += [final.faults_ended_at, final.drained_at or final.faults_ended_at]
    return (min(moments), max(moments)) if moments else (0.0, 0.0)


def _number(ledger: Ledger, sql: str) -> int:
    return int(ledger.rows(sql)[0][0])
