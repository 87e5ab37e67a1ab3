"""What shows on the machine of the pods: open files, traffic, connections, processes that are left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.pods import group
from chaos.pods.base import Pod
from chaos.pods.local import LocalCluster
from chaos.records import now
from chaos.sites.base import Meter

if TYPE_CHECKING:
    from chaos.conductor import Run

SPARE_FILES = 3
"""Files that a child opens with its first jobs: the way to the collector, to ask for a fence, to send jobs."""
MEMORY_FILES = 4
"""Files of shared memory that a supervisor keeps for its next children: two for each that lived beside the first."""
LOOP_FILES = 3
"""Files of the event loop that a thread keeps once it has run a coroutine."""


class LocalMeter(Meter):
    """Measures a run on this machine."""

    def __init__(self, run: Run, cluster: LocalCluster) -> None:
        self._run = run
        self._cluster = cluster
        self._traffic_before = 0.0
        self._files_before = {"main": 0, "child": 0}

    def before(self) -> None:
        """Measure the one pod that is there, and has nothing to do yet."""
        self._traffic_before = self._traffic("waking")
        pod = self._run.stage.ready()[0]
        main, children = _roles(pod)
        loops = LOOP_FILES * self._run.settings.concurrency
        most = max(map(group.open_files, children))
        self._files_before = {"main": group.open_files(main) + MEMORY_FILES, "child": most + loops + SPARE_FILES}

    def resting(self) -> None:
        """Measure the last pod."""
        self.idle = (self._traffic_before, self._traffic("resting"))
        self.descriptors = self._descriptors()

    def after(self) -> None:
        """Look who is still there, with a moment's patience for connections that are about to end."""
        observer = self._run.observer
        self._run.until(lambda: not observer.clients(), 3, "leaving")
        self.connections = (0, len(observer.clients()))
        self.processes = [str(pid) for pid in self._cluster.leftovers()]

    def _traffic(self, phase: str) -> float:
        """Commands per second that pods send."""
        seconds = self._run.scenario.idle_for
        began, before = now(), self._run.commands("seen").total()
        self._run.until(lambda: now() - began > seconds, seconds + 1, phase)
        return float((self._run.commands("seen").total() - before) / (now() - began))

    def _descriptors(self) -> dict[int, tuple[int, int]]:
        found: dict[int, tuple[int, int]] = {}
        for pod in self._run.stage.ready():
            main, children = _roles(pod)
            found[main] = (self._files_before["main"], group.open_files(main))
            found |= {pid: (self._files_before["child"], group.open_files(pid)) for pid in children}
        return found


def _roles(pod: Pod) -> tuple[int, tuple[int, ...]]:
    """A pod's supervisor and its worker processes."""
    children = pod.children()
    return next(pid for pid in pod.members() if pid not in children), children
