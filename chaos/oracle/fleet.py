"""The pods' lives: who lived when, which processes were whose, who had been told to stop."""

from __future__ import annotations

import math
from collections import defaultdict

import attrs

from chaos.records import PodEvent, Run

UNSEEN = 20.0
"""Seconds that a process may live before it is noticed among its pod's, when whoever looks is held up himself. It
matters only when an id is used again.
"""

SIGNS = ("prestop", "term", "kill")
"""What tells a pod to stop."""


@attrs.define
class Life:
    """One pod from its start to its end; moments that did not come are infinite."""

    name: str
    replica: str = ""
    ready: float = math.inf
    prestop: float = math.inf
    term: float = math.inf
    kill: float = math.inf
    end: float = math.inf
    mains: set[int] = attrs.field(factory=set)
    """Its supervisor, and what else of it is no worker process."""
    spans: dict[int, tuple[float, float]] = attrs.field(factory=dict)
    """Of each of its processes: when it was first seen, when first missed."""

    @property
    def told(self) -> float:
        """When it was first told to stop, in any way."""
        return min(self.prestop, self.term, self.kill)

    def had(self, pid: int, at: float) -> bool:
        """Whether a process of this id was one of its own then."""
        seen, missed = self.spans[pid]
        return seen - UNSEEN <= at <= missed

    def take(self, event: PodEvent) -> None:
        """Learn of one more moment; they come in order."""
        if event.what == "start":
            self.replica = str(event.detail.get("replica", ""))
        elif event.what == "members":
            self._members(event)
        elif event.what in ("ready", "end", *SIGNS):
            setattr(self, event.what, min(getattr(self, event.what), event.at))

    def _members(self, event: PodEvent) -> None:
        pids = set(event.detail.get("pids", ()))
        if "main" in event.detail:
            self.mains.add(event.detail["main"])
        else:
            self.mains |= pids - set(event.detail.get("children", ()))
        for pid in pids:
            self.spans.setdefault(pid, (event.at, math.inf))
        for pid, (seen, missed) in self.spans.items():
            if missed == math.inf and pid not in pids:
                self.spans[pid] = (seen, event.at)


@attrs.frozen
class Process:
    """One worker process. `pod` is None if no pod is known to have had it; `until` is when it was first missed."""

    pid: int
    pod: str | None = None
    replica: str = ""
    since: float = -math.inf
    until: float = math.inf


class Fleet:
    """All pods of a run."""

    def __init__(self, events: list[PodEvent]) -> None:
        self.lives: dict[str, Life] = {}
        for event in events:
            self.lives.setdefault(event.pod, Life(event.pod)).take(event)
        self._by_pid: defaultdict[int, list[Life]] = defaultdict(list)
        for life in self.lives.values():
            for pid in life.spans:
                self._by_pid[pid].append(life)
        self._known: dict[str, Process] = {}

    def process(self, run: Run) -> Process:
        """Return the process of a run. An identity is one start of one process, so it is looked up once."""
        found = self._known.get(run.identity)
        if found is None:
            found = self._known[run.identity] = self._look_up(run)
        return found

    def life(self, process: Process) -> Life | None:
        """Return the pod of a process."""
        return self.lives[process.pod] if process.pod is not None else None

    def owners(self, pid: int, at: float) -> list[Life]:
        """Return the pods that had a process of this id then."""
        return [life for life in self._by_pid[pid] if life.had(pid, at)]

    def _look_up(self, run: Run) -> Process:
        # On a cluster every pod counts its processes from 1, and the host's name is the pod's.
        host = run.identity.split(":")[0]
        lives = [self.lives[host]] if host in self.lives else self.owners(run.pid, run.started_at)
        if not lives:
            return Process(run.pid)
        life = lives[-1]
        seen, missed = life.spans.get(run.pid, (-math.inf, math.inf))
        return Process(run.pid, life.name, life.replica, seen - UNSEEN, missed)
