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

HOOK = 1.5
"""Seconds from the deletion of a pod on a cluster, which is what is noted, to its SIGTERM: for its preStop command."""


@attrs.define
class Life:
    """One pod from its start to its end; moments that did not come are infinite."""

    name: str
    replica: str = ""
    host: str = ""
    """Where each pod counts its own processes: the host in the identities of its own."""
    since: float = -math.inf
    """When it may have started at the earliest."""
    ready: float = math.inf
    prestop: float = math.inf
    term: float = math.inf
    kill: float = math.inf
    end: float = math.inf
    hurried: float = math.inf
    """When it got a second SIGTERM: its jobs are interrupted at once."""
    told: float = math.inf
    """When it was first told to stop, in any way, at the earliest."""
    leaves: float = math.inf
    """When it may have ended at the earliest."""
    mains: set[int] = attrs.field(factory=set)
    """Its supervisor, and what else of it is no worker process."""
    spans: dict[int, tuple[float, float]] = attrs.field(factory=dict)
    """Of each of its processes: when it was first seen, when first missed."""

    @property
    def stopping(self) -> float:
        """When it had got its SIGTERM at the latest."""
        return self.term + (HOOK if self.host else 0.0)

    @property
    def over(self) -> float:
        """When nothing of it lived at the latest. What is off the list by force may be noted before it is killed."""
        return self.end if self.kill == math.inf else max(self.end, self.kill)

    def had(self, pid: int, at: float) -> bool:
        """Whether a process of this id was one of its own then."""
        seen, missed = self.spans[pid]
        return seen - UNSEEN <= at <= missed

    def take(self, event: PodEvent) -> None:
        """Learn of one more moment; they come in order."""
        since = event.detail.get("since", event.at)
        if event.what == "start":
            self.replica, self.host = (str(event.detail.get(name, "")) for name in ("replica", "host"))
            self.since = since
        elif event.what == "members":
            self._members(event)
        elif event.what in ("ready", "end", *SIGNS):
            if event.what == "term" and self.term < math.inf:
                self.hurried = min(self.hurried, event.at)
            setattr(self, event.what, min(getattr(self, event.what), event.at))
        if event.what in SIGNS:
            self.told = min(self.told, since)
        elif event.what == "end":
            self.leaves = min(self.leaves, since)

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

    def __init__(self, events: list[PodEvent], listed: float = 0.0) -> None:
        """`listed`: seconds for which reliq may list a dead process. A pod on a cluster is ready when one of it is."""
        self.lives: dict[str, Life] = {}
        for event in events:
            self.lives.setdefault(event.pod, Life(event.pod)).take(event)
        self._by_pid: defaultdict[int, list[Life]] = defaultdict(list)
        self._by_host: defaultdict[str, list[Life]] = defaultdict(list)
        for life in self.lives.values():
            if life.host:
                self._by_host[life.host].append(life)
            for pid in () if life.host else life.spans:
                self._by_pid[pid].append(life)
        for lives in self._by_host.values():
            for life in lives[1:]:
                life.ready += listed  # before that, a process of the last container may have made it look ready
        self._known: dict[str, Process] = {}

    @property
    def afar(self) -> bool:
        """Whether its pods were on a cluster: a process id says something only together with a host."""
        return bool(self._by_host)

    def process(self, run: Run) -> Process:
        """Return the process of a run. An identity is one start of one process, so it is looked up once."""
        found = self._known.get(run.identity)
        if found is None:
            found = self._known[run.identity] = self._look_up(run)
        return found

    def life(self, process: Process) -> Life | None:
        """Return the pod of a process."""
        return None if process.pod is None else self.lives.get(process.pod)

    def owners(self, pid: int, at: float) -> list[Life]:
        """Return the pods of this machine that had a process of this id then."""
        return [life for life in self._by_pid[pid] if life.had(pid, at)]

    def name_at(self, host: str, pid: int, at: float) -> str | None:
        """Return the name of the pod of this host that had this process then.

        The host itself, which is no pod, if none of it was ever seen; None if pods are not told apart by their host.
        """
        if not self.afar:
            return None
        life = self._at(host, pid, at)
        return host if life is None else life.name

    def _at(self, host: str, pid: int, at: float) -> Life | None:
        """The pod of a host that lived then; of two that may have, the one that was seen with this process.

        Else the earlier: the next one needs a moment before it runs anything.
        """
        lives = self._by_host.get(host)
        if not lives:
            return None
        then = [life for life in lives if life.since <= at <= life.over]
        seen = [life for life in then if pid in life.spans]
        begun = [life for life in lives if life.since <= at]
        return (seen or then or begun[-1:] or lives)[0]

    def _look_up(self, run: Run) -> Process:
        if self.afar:
            return self._far_away(run)
        lives = self.owners(run.pid, run.started_at)
        if not lives:
            return Process(run.pid)
        life = lives[-1]
        seen, missed = life.spans.get(run.pid, (-math.inf, math.inf))
        return Process(run.pid, life.name, life.replica, seen - UNSEEN, missed)

    def _far_away(self, run: Run) -> Process:
        """The process of a run where ids alone say nothing: other pods, and earlier ones of its host, have the same."""
        life = self._at(run.host, run.pid, run.started_at)
        if life is None:
            return Process(run.pid, run.host, run.host)
        _, missed = life.spans.get(run.pid, (-math.inf, math.inf))
        return Process(run.pid, life.name, life.replica, until=min(missed, life.over))
