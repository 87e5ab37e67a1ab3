"""The ledger of `reliq demo`: a SQLite file in which every job writes down that it started, and its result.

Redis is not asked whether Redis lost something: the proof rests on this file alone. `results` has a unique key, so that
a second run of a job can add nothing; `runs` has a row for every start, so that every second run is seen.

Times are seconds on CLOCK_MONOTONIC, which all processes of a machine share and nobody can set.
"""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Self

import attrs

from reliq.attempt import Attempt

_SCHEMA = """
create table runs (
    id integer primary key, file text not null, jid text not null, identity text not null, pid integer not null,
    pod integer not null, attempt integer not null, crashes integer not null, started real not null, ended real,
    refused integer
);
create table results (file text primary key, run integer not null, digest text not null, lines integer not null);
create table kills (at real not null, dead real not null, what text not null, pod integer not null, pid integer);
"""
_BUSY = 30.0
"""Seconds to wait for other writers; each of them takes less than a millisecond."""

LONGEST_ACK = 1.0
"""Seconds from the result in the ledger to the acknowledgement in Redis, at the most; it is a millisecond or two."""


@attrs.frozen
class Run:
    """One start of a job. `pod` is the process group of its worker; `ended` is None if it was cut off or still runs.

    `refused`: there was a result of this file already, and the unique key refused another.
    """

    id: int
    file: str
    jid: str
    identity: str
    pid: int
    pod: int
    attempt: int
    crashes: int
    started: float
    ended: float | None
    refused: bool | None


@attrs.frozen
class Kill:
    """A SIGKILL: sent `at`, seen to have worked by `dead`, of one process of a pod, or of all (`pid` None)."""

    at: float
    dead: float
    what: str
    pod: int
    pid: int | None

    def hit(self, run: Run) -> bool:
        """Whether this run was killed, or had ended so shortly before that its acknowledgement may have been."""
        its_process = run.pod == self.pod and self.pid in (None, run.pid)
        return its_process and run.started <= self.dead and (run.ended is None or self.at - run.ended < LONGEST_ACK)


@attrs.frozen
class Counts:
    """How far the ledger has come."""

    started: int
    ended: int
    results: int


class Ledger:
    """One connection. Every write is one short transaction: a kill leaves it whole or not there."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self._db = sqlite3.connect(path, timeout=_BUSY, isolation_level=None)
        # What a process has written survives its kill in the kernel's memory; a power cut is not what this is about.
        self._db.execute("pragma synchronous = off")
        if create:
            self._db.execute("pragma journal_mode = wal")
            self._db.executescript(_SCHEMA)

    def start(self, file: str, attempt: Attempt) -> int:
        """Write down that a job starts in this process; return the number of its run."""
        row = (file, attempt.jid, attempt.identity, os.getpid(), os.getpgrp(), attempt.attempt, attempt.crashes)
        into = "insert into runs (file, jid, identity, pid, pod, attempt, crashes, started)"
        number = self._db.execute(f"{into} values (?, ?, ?, ?, ?, ?, ?, ?)", (*row, time.monotonic())).lastrowid
        assert number is not None  # noqa: S101 - a row was inserted
        return number

    def end(self, run: int, file: str, digest: str, lines: int) -> None:
        """Write down the result of a run, unless there is one, and that the run is over."""
        with self._db:
            self._db.execute("begin immediate")
            accepted = self._db.execute(
                "insert into results values (?, ?, ?, ?) on conflict do nothing", (file, run, digest, lines)
            ).rowcount
            self._db.execute(
                "update runs set ended = ?, refused = ? where id = ?", (time.monotonic(), not accepted, run)
            )

    def killed(self, kill: Kill) -> None:
        """Write down a kill."""
        self._db.execute("insert into kills values (?, ?, ?, ?, ?)", attrs.astuple(kill))

    def counts(self) -> Counts:
        """Return how many runs and results there are."""
        row = self._db.execute("select count(*), count(ended), (select count(*) from results) from runs").fetchone()
        return Counts(*row)

    def runs(self) -> list[Run]:
        """Return all runs in the order of their starts."""
        return [Run(*row) for row in self._db.execute("select * from runs order by started")]

    def running(self, pod: int) -> list[Run]:
        """Return the runs of a pod that have not ended."""
        rows = self._db.execute("select * from runs where ended is null and pod = ? order by started", (pod,))
        return [Run(*row) for row in rows]

    def kills(self) -> list[Kill]:
        """Return all kills in their order."""
        return [Kill(*row) for row in self._db.execute("select * from kills order by at")]

    def results(self) -> dict[str, int]:
        """Return the number of lines of each file that has a result."""
        return dict(self._db.execute("select file, lines from results"))

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
