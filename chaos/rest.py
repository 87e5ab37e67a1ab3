"""Coming to rest: the faults are over, one pod has to finish everything; then everything is measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import redis

from chaos.jobs import app
from chaos.observer import Census
from chaos.pods import group
from chaos.pods.base import Pod
from chaos.records import Final, now

if TYPE_CHECKING:
    from chaos.conductor import Run

IDLE_FOR = 3.0
"""Seconds over which idle traffic is measured."""
LOOK_EVERY = 0.3
"""Seconds between two looks at what is left."""
SPARE_FILES = 3
"""Files that a child opens with its first jobs: the way to the collector, to ask for a fence, to send jobs."""
MEMORY_FILES = 4
"""Files of shared memory that a supervisor keeps for its next children: two for each that lived beside the first."""
LOOP_FILES = 3
"""Files of the event loop that a thread keeps once it has run a coroutine."""


class Rest:
    """Measures a run before its first job, and after its last."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._looked_at = 0.0
        self._traffic_before = 0.0
        self._files_before = {"main": 0, "child": 0}

    def look_before(self) -> None:
        """Measure the one pod that is there, and has nothing to do yet."""
        self._traffic_before = self._traffic("waking")
        pod = self._run.stage.ready()[0]
        main, children = _roles(pod)
        loops = LOOP_FILES * self._run.settings.concurrency
        most = max(map(group.open_files, children))
        self._files_before = {"main": group.open_files(main) + MEMORY_FILES, "child": most + loops + SPARE_FILES}

    def come(self) -> Final:
        """Stop the faults, let one pod finish everything, and measure; in the end take that away, too."""
        run = self._run
        run.stage.lift_all()
        for replica in run.cluster.replicas:
            replica.version, replica.log_full = "new", False
        faults_ended_at = now()
        run.producer.stop()
        run.cluster.scale(1)
        run.until(lambda: not run.producer.is_alive(), 30, "draining")
        drained = run.until(self._nothing_left, run.scenario.drain_within, "draining")
        drained_at = now() if drained else None
        run.until(lambda: len(run.cluster.everything()) == len(run.stage.ready()) == 1, 60, "resting")
        traffic = self._traffic("resting")
        descriptors = self._descriptors()
        census = run.auditor.audit()
        status = self._status()
        run.auditor.stop()
        run.cluster.scale(0)
        run.until(lambda: not run.cluster.everything(), 60, "leaving")
        run.auditor.join(10)
        app.close()
        observer = run.observer
        run.until(lambda: not observer.clients(), 3, "leaving")
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
            connections=(0, len(observer.clients())),
            processes=[str(pid) for pid in run.cluster.leftovers()],
            descriptors=descriptors,
            idle=(self._traffic_before, traffic),
            walk=observer.walk(),
        )

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

    def _traffic(self, phase: str) -> float:
        """Commands per second that pods send."""
        began, before = now(), self._run.commands("seen").total()
        self._run.until(lambda: now() - began > IDLE_FOR, IDLE_FOR + 1, phase)
        return float((self._run.commands("seen").total() - before) / (now() - began))

    def _descriptors(self) -> dict[int, tuple[int, int]]:
        found: dict[int, tuple[int, int]] = {}
        for pod in self._run.stage.ready():
            main, children = _roles(pod)
            found[main] = (self._files_before["main"], group.open_files(main))
            found |= {pid: (self._files_before["child"], group.open_files(pid)) for pid in children}
        return found

    def _status(self) -> dict[str, Any]:
        answer = subprocess.run(
            [sys.executable, "-m", "reliq", "status", "--json", "--url", self._run.server.url],
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


def _roles(pod: Pod) -> tuple[int, tuple[int, ...]]:
    """A pod's supervisor and its worker processes."""
    children = pod.children()
    return next(pid for pid in pod.members() if pid not in children), children
