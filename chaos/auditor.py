"""The auditor: counts the homes of every job, over and over, while the run goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import redis

from chaos.collector import Collector
from chaos.ledger import Ledger
from chaos.observer import Census, Observer, differs
from chaos.records import Audit, Sent, now

EVERY = 0.3
"""Seconds between two audits."""


class Auditor(threading.Thread):
    """Takes a census several times a second. `jobs` gives the jobs that are known to be enqueued, by token."""

    def __init__(
        self, *, ledger: Ledger, collector: Collector, observer: Observer, jobs: Callable[[], Mapping[int, Sent]]
    ) -> None:
        super().__init__(name="auditor", daemon=True)
        self._ledger = ledger
        self._collector = collector
        self._observer = observer
        self._jobs = jobs
        self._halt = threading.Event()
        self._over: set[int] = set()
        self._texts: dict[int, bytes] = {}
        self.done = 0
        self.failed = 0

    def stop(self) -> None:
        """Audit no more."""
        self._halt.set()

    def run(self) -> None:
        """Audit until told to stop. While Redis is away there is nothing to see."""
        while not self._halt.wait(EVERY):
            try:
                self.audit()
                self.done += 1
            except redis.RedisError:
                self.failed += 1

    def audit(self) -> Census:
        """Take one census and write down what is wrong."""
        began = now()
        known = dict(self._jobs())
        census = self._observer.census()
        ended = now()
        self._collector.settle()
        missing = []
        for token in known.keys() - self._over:
            finished = self._collector.finished(token)
            if finished is not None and finished[1] <= ended:
                self._over.add(token)
            elif token not in census.homes:
                missing.append(token)
        self._ledger.add_audit(
            Audit(
                started_at=began,
                ended_at=ended,
                homes=census.by_kind(),
                doubled={token: homes for token, homes in census.homes.items() if len(homes) > 1},
                missing=sorted(missing),
                changed=self.changed(census, known),
            )
        )
        return census

    def changed(self, census: Census, known: Mapping[int, Sent]) -> dict[int, str]:
        """Return the jobs whose arguments are no longer what was sent, byte for byte, and how."""
        wrong = {}
        for token, texts in census.arguments.items():
            first = self._texts.setdefault(token, next(iter(texts)))
            if texts != {first}:
                wrong[token] = f"{first[:80]!r} became {next(iter(texts - {first}))[:80]!r}"
            elif token in known and differs(first, known[token].digest):
                wrong[token] = f"{first[:80]!r} is not what was sent"
        return wrong
