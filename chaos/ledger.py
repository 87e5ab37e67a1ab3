"""The ledger: an SQLite file beside the run, outside the Redis under test. One process writes it; anybody may read.

Workers never write it themselves: a frozen worker could hold SQLite's lock. They send lines to `chaos.collector`, which
writes here. Facts about the run as a whole (settings, baselines, the last status) lie under names in `facts`.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs

from chaos.records import Audit, Effect, FaultRecord, Final, PodEvent, Run, Sent, Settings

SCHEMA = """
create table if not exists facts (name text primary key, value text not null);
create table if not exists sent (
    token integer primary key, name text not null, queue text not null, via text not null, kind text not null,
    digest text not null, expected text not null, sent_at real not null, known_at real, answer text, jid text);
create table if not exists runs (
    run text primary key, token integer not null, jid text not null, attempt integer not null, identity text not null,
    pid integer not null, digest text not null, started_at real not null, crashes integer, fence integer, fence_at real,
    ended_at real, outcome text, code text not null);
create index if not exists runs_by_token on runs (token, started_at);
create table if not exists effects (
    number integer primary key, run text not null, token integer not null, fence integer, at real not null,
    accepted integer not null);
create table if not exists faults (
    number integer primary key, name text not null, target text not null, harm text not null, at real not null,
    ended_at real, pids text not null, outage integer not null, in_flight integer not null, observed integer not null,
    detail text not null);
create table if not exists pods (pod text not null, what text not null, at real not null, detail text not null);
create table if not exists audits (
    started_at real not null, ended_at real not null, homes text not null, doubled text not null,
    missing text not null, changed text not null);
"""


class Ledger:
    """One run's ledger. Safe to use from several threads of one process. Close it."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._lock = threading.RLock()
        where = f"file:{path}?mode=ro" if read_only else str(path)
        self._database = sqlite3.connect(where, uri=read_only, check_same_thread=False, isolation_level=None)
        if not read_only:
            self._database.execute("pragma journal_mode = wal")
            # A crash of the machine ends the run anyway; a crash of the harness loses nothing with this.
            self._database.execute("pragma synchronous = off")
            self._database.executescript(SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    # -- writing

    def write(self, statements: Iterable[tuple[str, tuple[Any, ...]]]) -> None:
        """Carry out all statements in one transaction."""
        with self._lock:
            self._database.execute("begin immediate")
            for sql, values in statements:
                self._database.execute(sql, values)
            self._database.execute("commit")

    def say(self, name: str, value: Any) -> None:
        """Set a fact: anything JSON."""
        self.write([("insert or replace into facts values (?, ?)", (name, json.dumps(value)))])

    def add_sent(self, jobs: Iterable[Sent]) -> None:
        """Note jobs before they are sent, or again when their answer is known: the later word replaces the earlier."""
        self.write([_insert("sent", attrs.asdict(job), replace=True) for job in jobs])

    def add_all(self, sent: Iterable[Sent], runs: Iterable[Run], effects: Iterable[Effect]) -> None:
        """Note what jobs said; the later word of a run replaces the earlier."""
        self.write(
            [
                *(_insert("sent", attrs.asdict(job), replace=True) for job in sent),
                *(_insert("runs", attrs.asdict(run), replace=True) for run in runs),
                *(_insert("effects", attrs.asdict(effect)) for effect in effects),
            ]
        )

    def add_fault(self, fault: FaultRecord) -> None:
        """Note a fault, or note it again with its end."""
        row = attrs.asdict(fault) | {"pids": json.dumps(fault.pids), "detail": json.dumps(fault.detail)}
        self.write([_insert("faults", row, replace=True)])

    def add_pod_event(self, event: PodEvent) -> None:
        """Note a moment in a pod's life."""
        self.write([_insert("pods", attrs.asdict(event) | {"detail": json.dumps(event.detail)})])

    def add_audit(self, audit: Audit) -> None:
        """Note a census."""
        row = attrs.asdict(audit)
        for name in ("homes", "doubled", "missing", "changed"):
            row[name] = json.dumps(row[name])
        self.write([_insert("audits", row)])

    def say_settings(self, settings: Settings) -> None:
        """Note how the run was set up."""
        self.say("settings", attrs.asdict(settings))

    def say_final(self, final: Final) -> None:
        """Note what was measured at the end."""
        self.say("final", attrs.asdict(final))

    # -- reading

    def fact(self, name: str, default: Any = None) -> Any:
        """The fact of this name, or `default`."""
        rows = self.rows("select value from facts where name = ?", name)
        return json.loads(rows[0][0]) if rows else default

    def facts(self) -> dict[str, Any]:
        """All facts."""
        return {name: json.loads(value) for name, value in self.rows("select name, value from facts")}

    def settings(self) -> Settings:
        """How the run was set up. Raises KeyError if it never began."""
        fields = self.facts()["settings"]
        return Settings(**fields | {"armed": tuple(fields["armed"])})

    def final(self) -> Final | None:
        """What was measured at the end; None if the run did not get there."""
        fields = self.fact("final")
        if fields is None:
            return None
        for name in ("homes", "changed"):
            fields[name] = {int(token): value for token, value in fields[name].items()}
        if fields["descriptors"] is not None:
            fields["descriptors"] = {int(pid): tuple(pair) for pid, pair in fields["descriptors"].items()}
        for name in ("connections", "idle"):
            fields[name] = None if fields[name] is None else tuple(fields[name])
        return Final(**fields)

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """What a query answers."""
        with self._lock:
            return self._database.execute(sql, values).fetchall()

    def sent(self) -> list[Sent]:
        """All jobs, by token."""
        return [Sent(**row) for row in self._dicts("select * from sent order by token")]

    def runs(self) -> list[Run]:
        """All runs, by token and start."""
        return [Run(**row) for row in self._dicts("select * from runs order by token, started_at")]

    def effects(self) -> list[Effect]:
        """All effects, in the order in which the world received them."""
        rows = self._dicts("select * from effects order by number")
        return [Effect(**row | {"accepted": bool(row["accepted"])}) for row in rows]

    def faults(self) -> list[FaultRecord]:
        """All faults, in order of time."""
        return [
            FaultRecord(
                **row
                | {
                    "pids": tuple(json.loads(row["pids"])),
                    "outage": bool(row["outage"]),
                    "observed": bool(row["observed"]),
                    "detail": json.loads(row["detail"]),
                }
            )
            for row in self._dicts("select * from faults order by at, number")
        ]

    def pod_events(self) -> list[PodEvent]:
        """All moments of all pods, in order of time."""
        rows = self._dicts("select * from pods order by at")
        return [PodEvent(**row | {"detail": json.loads(row["detail"])}) for row in rows]

    def audits(self) -> list[Audit]:
        """All censuses, in order of time."""
        audits = []
        for row in self._dicts("select * from audits order by started_at"):
            row |= {name: json.loads(row[name]) for name in ("homes", "doubled", "missing", "changed")}
            row["doubled"] = {int(token): places for token, places in row["doubled"].items()}
            row["changed"] = {int(token): how for token, how in row["changed"].items()}
            audits.append(Audit(**row))
        return audits

    def _dicts(self, sql: str) -> list[dict[str, Any]]:
        with self._lock:
            cursor = self._database.execute(sql)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]


def _insert(table: str, row: dict[str, Any], *, replace: bool = False) -> tuple[str, tuple[Any, ...]]:
    # Table and columns are this module's own, never input.
    marks = ", ".join("?" for _ in row)
    verb = "insert or replace" if replace else "insert"
    return f"{verb} into {table} ({', '.join(row)}) values ({marks})", tuple(row.values())
