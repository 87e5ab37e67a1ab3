"""Which lane of the timeline a thing belongs to: one lane for each replica, one for Redis, one for the rest."""

from __future__ import annotations

import re
from collections import defaultdict

import attrs

from chaos.records import FaultRecord, PodEvent, Run

REDIS = "redis"
OTHER = "other"
"""The lane of what struck neither a pod nor Redis, as far as the ledger can tell."""

REPLICAS = 16
"""How many replicas have lanes of their own."""


@attrs.define(kw_only=True)
class Incarnation:
    """One start of a replica. Moments are None if they never came."""

    pod: str
    began: float
    ready: float | None = None
    told: float | None = None
    """When it was told to go: by preStop or by SIGTERM."""
    killed: float | None = None
    """When its grace was over."""
    ended: float | None = None
    code: str = ""
    pids: set[int] = attrs.field(factory=set)
    lane: str = ""

    @property
    def replica(self) -> str:
        """The name without the incarnation."""
        return self.pod.rpartition("-")[0] or self.pod


class Lanes:
    """All lanes, from top to bottom in `names`."""

    def __init__(self, events: list[PodEvent], faults: list[FaultRecord]) -> None:
        self.incarnations = _incarnations(events)
        names = _pack(self.incarnations)
        self._by_pod = {one.pod: one for one in self.incarnations}
        self._by_replica: defaultdict[str, list[Incarnation]] = defaultdict(list)
        self._by_pid: defaultdict[int, list[Incarnation]] = defaultdict(list)
        for one in self.incarnations:
            self._by_replica[one.replica].append(one)
            for pid in one.pids:
                self._by_pid[pid].append(one)
        self.names = [REDIS, *names]
        if any(OTHER in self.of_fault(fault) for fault in faults):
            self.names.append(OTHER)

    def of_fault(self, fault: FaultRecord) -> list[str]:
        """The lanes that a fault struck: its target's, else those of its processes."""
        if fault.target == REDIS or (fault.outage and not fault.pids):
            return [REDIS]
        if fault.target in self._by_pod:
            return [self._by_pod[fault.target].lane]
        struck = [_alive_at(self._by_pid[pid], fault.at) for pid in fault.pids if pid in self._by_pid]
        if not struck and fault.target in self._by_replica:
            struck = [_alive_at(self._by_replica[fault.target], fault.at)]
        return sorted({one.lane for one in struck}) or [OTHER]

    def of_run(self, run: Run) -> str | None:
        """The lane of the pod that ran it; None if no pod is known to have had this process."""
        # On a cluster the host is the pod, and every pod counts its processes from 1.
        owners = self._by_replica.get(run.identity.split(":")[0]) or self._by_pid.get(run.pid)
        return _alive_at(owners, run.started_at).lane if owners else None


def _incarnations(events: list[PodEvent]) -> list[Incarnation]:
    found: dict[str, Incarnation] = {}
    for event in events:
        one = found.setdefault(event.pod, Incarnation(pod=event.pod, began=event.at))
        match event.what:
            case "ready":
                one.ready = event.at if one.ready is None else one.ready
            case "prestop" | "term":
                one.told = event.at if one.told is None else one.told
            case "kill":
                one.killed = event.at
            case "end":
                one.ended, one.code = event.at, str(event.detail.get("code", "unknown"))
            case "members":
                one.pids.update(event.detail.get("pids", ()))
    return list(found.values())


def _pack(incarnations: list[Incarnation]) -> list[str]:
    """Give each its lane: its replica's, or a further one of the same replica while that is taken.

    Where every pod has a new name, as on a cluster, there would be no end of lanes: then all share what are free.
    """
    shared = len({one.replica for one in incarnations}) > REPLICAS
    ends: defaultdict[str, list[float]] = defaultdict(list)
    for one in incarnations:
        group = "pods" if shared else one.replica
        lanes = ends[group]
        free = next((number for number, end in enumerate(lanes) if end <= one.began), len(lanes))
        lanes[free : free + 1] = [float("inf") if one.ended is None else one.ended]
        one.lane = _numbered(group, free)
    return [_numbered(group, number) for group in sorted(ends, key=_natural) for number in range(len(ends[group]))]


def _numbered(group: str, number: int) -> str:
    return f"{group} ({number + 1})" if number else group


def _natural(name: str) -> list[tuple[int, str]]:
    """So that pod-2 comes before pod-10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _alive_at(candidates: list[Incarnation], moment: float) -> Incarnation:
    """The last that had begun by then."""
    begun = [one for one in candidates if one.began <= moment]
    return begun[-1] if begun else candidates[0]
