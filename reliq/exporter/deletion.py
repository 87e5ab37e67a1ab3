"""DeletionCost: tells Kubernetes which pods are cheapest to delete when a Deployment shrinks: those that do least.

Without it a ReplicaSet prefers the youngest pods, however much they do. Nothing rests on it: a pod that is chosen
nevertheless finishes its jobs, or hands them back.
"""

from __future__ import annotations

import logging

from reliq.errors import ReliqError
from reliq.exporter.kubernetes import NoAnswer, Pods, is_pod_name
from reliq.exporter.reader import Reader
from reliq.server.service import Service
from reliq.survey import Survey

ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"

EVERY = 10.0
"""Seconds between two passes. Each change is a write into etcd, so it is told in steps, and not at every job."""

NOT_NOW = (401, 403, 429)
"""What the API server answers for every pod alike: no such account, no such right, too many requests."""

_log = logging.getLogger("reliq.exporter")


def costs(survey: Survey) -> dict[str, int]:
    """Return the cost of each living pod: its jobs, rounded down to a power of two, so that it seldom changes."""
    jobs: dict[str, int] = {}
    for process in survey.processes:
        if process.alive and is_pod_name(process.entry.host):
            jobs[process.entry.host] = jobs.get(process.entry.host, 0) + process.busy
    return {pod: 1 << (count.bit_length() - 1) if count else 0 for pod, count in jobs.items()}


class DeletionCost(Service):
    """Keeps the annotation of all worker pods, one pass every EVERY seconds."""

    name = "pod-deletion-cost"

    def __init__(self, reader: Reader, pods: Pods) -> None:
        super().__init__(EVERY)
        self._reader = reader
        self._pods = pods
        self._told: dict[str, int | None] = {}  # None: no pod of this namespace
        self._trouble = ""

    def tick(self) -> float:
        """Tell what has changed."""
        try:
            wanted = costs(self._reader.read())
        except ReliqError:
            return EVERY  # what is told stays
        self._told = {pod: told for pod, told in self._told.items() if pod in wanted}
        changed = {pod: cost for pod, cost in wanted.items() if self._told.get(pod, -1) not in (cost, None)}
        if changed:
            self._tell(changed)
        return EVERY

    def _tell(self, changed: dict[str, int]) -> None:
        trouble = ""
        try:
            for answer in self._pods.annotate({pod: {ANNOTATION: str(cost)} for pod, cost in changed.items()}):
                if answer.status == 200:
                    self._told[answer.pod] = changed[answer.pod]
                elif answer.status == 404:
                    self._told[answer.pod] = None
                else:
                    trouble = trouble or f"{answer.status}, {answer.message}"
                    if answer.status in NOT_NOW:
                        break
        except (NoAnswer, ReliqError) as error:
            trouble = str(error)
        self._say(trouble)

    def _say(self, trouble: str) -> None:
        # Once an outage, and not for each pod that it strikes.
        if trouble and not self._trouble:
            _log.warning("cannot set the deletion cost of pods, trying again: %s", trouble)
        elif self._trouble and not trouble:
            _log.info("the deletion cost of pods can be set again")
        self._trouble = trouble
