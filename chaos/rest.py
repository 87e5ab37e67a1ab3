"""Coming to rest: the faults are over, one pod has to finish everything; then everything is measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, cast

import redis

from chaos.jobs import app
from chaos.observer import Census
from chaos.records import Final, now

if TYPE_CHECKING:
    from chaos.conductor import Run

LOOK_EVERY = 0.3
"""Seconds between two looks at what is left."""


class Rest:
    """Measures a run before its first job, and after its last."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._looked_at = 0.0
        self._meter = run.site.meter(run)

    def look_before(self) -> None:
        """Measure the one pod that is there, and has nothing to do yet."""
        self._meter.before()

    def come(self) -> Final:
        """Stop the faults, let one pod finish everything, and measure; in the end take that away, too."""
        run = self._run
        run.stage.lift_all()
        run.site.calm()
        faults_ended_at = now()
        run.producer.stop()
        run.cluster.scale(1)
        run.until(lambda: not run.producer.is_alive(), 30, "draining")
        drained = run.until(self._nothing_left, run.scenario.drain_within, "draining")
        drained_at = now() if drained else None
        self._park_retries()
        run.until(lambda: len(run.cluster.everything()) == len(run.stage.ready()) == 1, 60, "resting")
        self._meter.resting()
        run.cluster.scale(0)
        run.until(lambda: not run.cluster.everything(), 60, "leaving")
        # Only now, as a retry may come due at any moment: nothing moves any more between these two and the counters.
        census = run.auditor.audit()
        status = self._status()
        run.auditor.stop()
        run.auditor.join(10)
        app.close()
        self._meter.after()
        observer, meter = run.observer, self._meter
        return Final(
            faults_ended_at=faults_ended_at,
            drained_at=drained_at,
            drain_within=run.scenario.drain_within,
            left={kind: count for kind, count in self._waiting(census).items() if count},
            homes=census.homes,
            changed=run.auditor.changed(census, run.known()),
            processed=observer.counter("processed"),
            failed=observer.counter("failed"),
            trimmed=observer.counter("trimmed"),
            status=status,
            strange_keys=observer.strange_keys(),
            connections=meter.connections,
            processes=meter.processes,
            descriptors=meter.descriptors,
            idle=meter.idle,
            walk=observer.walk(),
        )

    def _park_retries(self) -> None:
        """Put off by a day what still waits for another attempt: else it comes due while the last pod is leaving."""
        client = self._run.observer.client
        for member, at in cast("list[tuple[bytes, float]]", client.zrange("retry", 0, -1, withscores=True)):
            client.zadd("retry", {member: at + 86_400}, xx=True)

    def _waiting(self, census: Census) -> dict[str, int]:
        """Jobs that have not come to their end, by kind of home; a name that old code did not know may wait."""
        sent = self._run.producer.acked
        counts = census.by_kind()
        counts.pop("dead", None)
        patient = [token for token, homes in census.homes.items() if homes == ["retry"] and token in sent]
        counts["retry"] = counts.get("retry", 0) - sum(sent[token].kind == "newcomer" for token in patient)
        return counts

    def _nothing_left(self) -> bool:
        if now() - self._looked_at < LOOK_EVERY:
            return False
        self._looked_at = now()
        try:
            return not any(self._waiting(self._run.observer.census()).values())
        except redis.RedisError:
            return False

    def _status(self) -> dict[str, Any]:
        answer = subprocess.run(
            [sys.executable, "-m", "reliq", "status", "--json", "--url", self._run.site.url],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "PYTHONPATH": str(self._run.options.code)},
        )
        if answer.returncode:
            return {"error": answer.stderr.strip()}
        found: dict[str, Any] = json.loads(answer.stdout)
        return found
