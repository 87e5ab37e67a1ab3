"""A run made up from a seed, in which reliq keeps every promise while pods die and leave all the time."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import defaultdict
from typing import Any

import attrs

from chaos.records import Audit, PodEvent
from tests.chaos.oracle_ledgers import SETTINGS, Book

TIMEOUT = 2.0
"""Seconds that jobs have on a stop."""


@attrs.frozen
class Stay:
    """One pod's time: it claims from `ready` to `closed`, and is gone at `gone`."""

    name: str
    main: int
    ready: float
    closed: float
    gone: float
    killed: bool

    @property
    def pids(self) -> tuple[int, int, int]:
        """Its processes, the supervisor first."""
        return self.main, self.main + 1, self.main + 2


class World:
    """So many jobs in so many seconds, on so many replicas whose pods live for `lives` seconds on average."""

    def __init__(
        self, seed: int, *, jobs: int, seconds: float, replicas: int = 8, lives: float = 15.0, audits: int = 100
    ) -> None:
        self.rng = random.Random(seed)
        self.book = Book(stop=TIMEOUT + 1.0)
        self.book.settings = attrs.evolve(SETTINGS, jobs=jobs, pods=replicas, stop=TIMEOUT + 1.0)
        self.book.events.clear()
        self.seconds = seconds
        self._pid = 1000
        self._fence = 0
        # The runs wait for their fence numbers, which rise with time over all jobs.
        self.stays = [self._replica(number, lives) for number in range(replicas)]
        self._ready = [[stay.ready for stay in stays] for stays in self.stays]
        self.processed = self.failed = 0
        for token in range(1, jobs + 1):
            self._job(token, self.rng.uniform(5, seconds))
        self._draw()
        self._look(audits)
        self.book.end(processed=self.processed, failed=self.failed, faults_ended_at=seconds, drained_at=seconds + 9)
        said = {"processed": self.processed, "failed": self.failed, "scheduled": 0, "retries": 0, "dead": 0}
        self.book.end(status=said | {"queues": []})

    # -- pods

    def _replica(self, number: int, lives: float) -> list[Stay]:
        stays: list[Stay] = []
        at = self.rng.uniform(0.0, 2.0)
        while at < self.seconds + 1000:
            self._pid += 3
            closed = at + 1.5 + self.rng.expovariate(1 / lives)
            if closed > self.seconds:
                closed = self.seconds + 1000
            killed = self.rng.random() < 0.7
            gone = closed if killed else closed + TIMEOUT + 0.5
            stay = Stay(f"pod-{number}-{len(stays) + 1}", self._pid, at + 1.5, closed, gone, killed)
            self._live(stay)
            stays.append(stay)
            at = gone + 0.5
        return stays

    def _live(self, stay: Stay) -> None:
        book, main, children = self.book, stay.main, stay.pids[1:]
        book.event(stay.name, "start", stay.ready - 1.5, replica=stay.name.rpartition("-")[0])
        book.members(stay.name, stay.ready - 1.0, *stay.pids, main=main)
        book.event(stay.name, "ready", stay.ready)
        if stay.closed > self.seconds:
            return
        if stay.killed:
            book.kill(stay.closed, main, *children, kind="pod", target=stay.name)
        else:
            book.event(stay.name, "prestop", stay.closed)
            book.event(stay.name, "term", stay.closed + 0.1)
        book.event(stay.name, "members", stay.gone + 0.05, pids=[], children=[], main=main)
        book.event(stay.name, "end", stay.gone + 0.05, code=-9 if stay.killed else 0)

    def _serving(self, at: float) -> Stay | None:
        """A pod that claims at this moment, in any order of the replicas."""
        for number in self.rng.sample(range(len(self.stays)), len(self.stays)):
            place = bisect_right(self._ready[number], at) - 1
            if place >= 0 and at < self.stays[number][place].closed:
                return self.stays[number][place]
        return None

    # -- jobs

    def _job(self, token: int, at: float) -> None:
        flaky = self.rng.random() < 0.02
        self.book.job(token, sent_at=at - 0.02, known_at=at - 0.01, kind="flaky" if flaky else "work")
        attempt, begin = 1, at
        while True:
            stay = self._serving(begin)
            if stay is None:
                begin += 0.5
                continue
            pid = self.rng.choice(stay.pids[1:])
            end = begin + self.rng.expovariate(1 / 1.2)
            run: dict[str, Any] = {"attempt": attempt, "identity": f"box:{pid}:{stay.name}", "fence": 1}
            if stay.killed and end > stay.closed:
                self.book.run(token, pid, begin, **run)
                begin = stay.closed + self.rng.uniform(2.0, 3.9)
            elif end > stay.closed + TIMEOUT:
                end = stay.closed + TIMEOUT
                self.book.run(token, pid, begin, end, "interrupted", **run)
                begin = end + 0.1
            elif flaky and attempt == 1:
                self.book.run(token, pid, begin, end, "failed", **run)
                self.processed, self.failed, attempt = self.processed + 1, self.failed + 1, 2
                begin = end + self.rng.uniform(15, 25)
            else:
                self.book.run(token, pid, begin, end, **run)
                self.processed += 1
                return

    def _draw(self) -> None:
        order = sorted(range(len(self.book.runs)), key=lambda at: self.book.runs[at].started_at)
        for number, at in enumerate(order, 1):
            run = self.book.runs[at]
            self.book.runs[at] = attrs.evolve(run, fence=number, fence_at=run.started_at)
        for at in order:
            self.book.effect(self.book.runs[at], self.book.runs[at].fence)

    def _look(self, audits: int) -> None:
        ends = sorted((run.ended_at, run.token) for run in self.book.runs if run.outcome == "done" and run.ended_at)
        self.book.audits.clear()
        for number in range(audits):
            at = 5 + number * self.seconds / audits
            # What ends between the census and its answer was in no place and not known to be done.
            place = bisect_right(ends, (at, 0))
            missing = [token for ended_at, token in ends[place : place + 3] if ended_at <= at + 0.05]
            self.book.audits.append(Audit(started_at=at, ended_at=at + 0.05, homes={}, missing=missing))


def later_runs(book: Book) -> dict[int, int]:
    """How often each job that ran more than once ran."""
    counts: defaultdict[int, int] = defaultdict(int)
    for run in book.runs:
        counts[run.token] += 1
    return {token: count for token, count in counts.items() if count > 1}


def events_of(book: Book, what: str) -> list[PodEvent]:
    """The moments of one kind."""
    return [event for event in book.events if event.what == what]
