"""The stage: everything that a fault can touch, and the log of what was done to it."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import attrs

from chaos.collector import Collector, is_one_of
from chaos.ledger import Ledger
from chaos.observer import Observer
from chaos.pods import group
from chaos.pods.base import Cluster, Pod
from chaos.pods.local import LocalCluster
from chaos.proxy import Command, Match, Proxy, Trap
from chaos.records import FaultRecord, Harm, Run, now
from chaos.servers import Server


@attrs.define
class Due:
    """Something to be done later, in the conductor's thread."""

    at: float
    do: Callable[[], None]


@attrs.define
class Snare:
    """A trap that waits at one or several doors; whatever comes first springs it, and the others are taken away."""

    traps: list[tuple[Proxy, Trap]]
    until: float
    sprung: Callable[[], bool]
    note: Callable[[Proxy, Trap], None] | None = None
    every: bool = False
    """Whether each door's trap counts by itself."""


@attrs.define(kw_only=True)
class Stage:
    """What a run plays on. The conductor calls `tick` some twenty times a second.

    Traps strike from the threads of the proxies; everything else happens in the conductor's thread.
    """

    ledger: Ledger
    collector: Collector
    server: Server | None
    """None: the Redis is not ours to break."""
    observer: Observer
    cluster: Cluster
    pods: int
    """How many the cluster keeps."""
    doors: dict[str, Proxy]
    """Each replica's way to Redis, by its name; the producers' is `producer`. Empty: nothing stands between."""
    rng: random.Random
    dead_after: float
    """Seconds after which a process that cannot reach Redis may be declared dead: TTL and confirm."""
    beat: float
    durability: str
    lose_only: tuple[str, ...] = ()
    """Commands to be lost, if not all."""
    redis_held: bool = False
    """Whether a fault of Redis is in force: one at a time, each says what it alone does."""
    fired: dict[str, int] = attrs.field(factory=dict)
    """How often each fault has struck while jobs ran."""
    _due: list[Due] = attrs.field(factory=list)
    _snares: list[Snare] = attrs.field(factory=list)
    count: int = 0
    """Faults so far."""
    _lock: threading.RLock = attrs.field(factory=threading.RLock)
    _dying: dict[tuple[str, int], tuple[Run, float]] = attrs.field(factory=dict)

    # -- looking

    def ready(self) -> list[Pod]:
        """The pods whose workers have registered and that are not being taken away."""
        return [pod for pod in self.cluster.pods() if pod.ready()]

    def pick(self, *, spare: int = 0) -> Pod | None:
        """A ready pod, or None if no more than `spare` are ready."""
        ready = self.ready()
        return self.rng.choice(ready) if len(ready) > spare else None

    def busy(self, *, spare: int = 0) -> Pod | None:
        """A ready pod that runs something, if there is one, else any."""
        ready = self.ready()
        if len(ready) <= spare:
            return None
        runs = self.collector.open_runs()
        hosts, pids = {run.host for run in runs}, {run.pid for run in runs}
        busy = [pod for pod in ready if (pod.host in hosts if pod.host else pids & set(pod.children()))]
        return self.rng.choice(busy or ready)

    def door(self, pod: Pod) -> Proxy:
        """A pod's way to Redis."""
        return self.doors[pod.replica]

    def beside(self, name: str, door: Proxy) -> list[Pod]:
        """Other pods than the one of this name that go through this door: one comes while another leaves."""
        return [pod for pod in self.cluster.everything() if pod.name != name and self.door(pod) is door]

    def pod_of(self, pid: int) -> str:
        """The name of the pod that a process of this machine belongs to, as long as the process lives."""
        assert isinstance(self.cluster, LocalCluster)
        try:
            main = os.getpgid(pid)
        except ProcessLookupError:
            return "?"
        return next((name for name, pids in self.cluster.mains().items() if pids == main), "?")

    # -- the log

    def log(
        self,
        name: str,
        target: str,
        harm: Harm,
        *,
        at: float | None = None,
        ended_at: float | None = None,
        pids: tuple[int, ...] = (),
        outage: bool = False,
        in_flight: int | None = None,
        observed: bool = False,
        **detail: Any,
    ) -> FaultRecord:
        """Write a fault down; from any thread."""
        in_flight = len(self.collector.open_runs()) if in_flight is None else in_flight
        with self._lock:
            self.count += 1
            number = self.count
            if in_flight and not observed:
                self.fired[name] = self.fired.get(name, 0) + 1
        record = FaultRecord(
            number=number,
            name=name,
            target=target,
            harm=harm,
            at=now() if at is None else at,
            ended_at=ended_at,
            pids=pids,
            outage=outage,
            in_flight=in_flight,
            observed=observed,
            detail=detail,
        )
        self.ledger.add_fault(record)
        return record

    @contextmanager
    def killing(self, name: str, target: str, **detail: Any) -> Iterator[list[int]]:
        """Log a fault that ends processes around what does it; put those that it hit into the list."""
        at, in_flight = now(), len(self.collector.open_runs())
        pids: list[int] = []
        yield pids
        if pids:
            self.log(name, target, "dead", at=at, ended_at=now(), pids=tuple(pids), in_flight=in_flight, **detail)

    def kill_by_pid(self, name: str, pid: int, scope: Literal["process", "pod"], **detail: Any) -> None:
        """SIGKILL one process, or the whole pod that it belongs to; from any thread."""
        target = self.pod_of(pid)
        try:
            main = os.getpgid(pid)
        except ProcessLookupError:
            return
        kind = "pod" if scope == "pod" else "main" if pid == main else "child"
        with self.killing(name, target, kind=kind, **detail) as pids:
            if scope == "pod":
                members = tuple(process.pid for process in group.by_group().get(main, []))
                pids.extend(group.kill(members, group=main))
            else:
                pids.extend(group.kill((pid,)))

    def hold(
        self,
        name: str,
        target: str,
        harm: Harm,
        seconds: float,
        undo: Callable[[], None],
        *,
        pids: tuple[int, ...] = (),
        outage: bool = False,
        at: float | None = None,
        **detail: Any,
    ) -> None:
        """Log a fault that has begun (at `at`, by default now), and let `undo` take it back after `seconds`."""
        record = self.log(name, target, harm, at=at, pids=pids, outage=outage, **detail)
        self.redis_held = self.redis_held or target == "redis"

        def end() -> None:
            undo()
            if target == "redis":
                self.redis_held = False
            self.ledger.add_fault(attrs.evolve(record, ended_at=now()))

        self.later(seconds, end)

    def grace_over(self, name: str, target: str, pids: tuple[int, ...], at: float) -> None:
        """Hear from the cluster that all of a pod died though nobody had armed that: its grace period was over, say."""
        self.log(name, target, "dead", at=at, ended_at=now(), pids=pids, observed=True, kind="pod")

    def saw(self, what: str, run: Run) -> None:
        """Hear from the collector what a job does: one that is about to end its process."""
        if what == "dies":
            with self._lock:
                self._dying[run.host, run.pid] = (run, now())

    def heard(self) -> set[int]:
        """Processes from whose jobs something was heard, and whose end is not known."""
        with self._lock:
            return {run.pid for run in self.collector.open_runs()} | {pid for _, pid in self._dying}

    def ended(self, pids: Collection[int] | None, host: str = "") -> None:
        """Hear that processes are dead: those that had said so ended themselves. As Collector.processes_ended."""
        with self._lock:
            dying = [process for process, (run, _) in self._dying.items() if is_one_of(run, pids, host)]
            dead = [self._dying.pop(process) for process in dying]
        for run, at in dead:
            where: dict[str, Any] = {"host": host} if host else {}
            self.log(
                "suicide",
                host or "job",
                "dead",
                at=at,
                ended_at=now(),
                pids=(run.pid,),
                observed=True,
                kind="child",
                token=run.token,
                **where,
            )

    # -- time

    def later(self, seconds: float, do: Callable[[], None]) -> None:
        """Do something in so many seconds, or at the end of all faults if that comes first."""
        with self._lock:
            self._due.append(Due(now() + seconds, do))

    def tick(self) -> None:
        """Keep the pods alive, take back what is over, look after the traps."""
        self.cluster.tick()
        moment = now()
        with self._lock:
            due = [one for one in self._due if one.at <= moment]
            self._due = [one for one in self._due if one.at > moment]
        for one in due:
            one.do()
        self._snares = [snare for snare in self._snares if not self._look_after(snare)]

    def lift_all(self) -> None:
        """Take back everything that still holds."""
        for snare in self._snares:
            snare.until = 0.0
            self._look_after(snare)
        self._snares.clear()
        while self._due:
            with self._lock:
                due, self._due = self._due, []
            for one in sorted(due, key=lambda one: one.at):
                one.do()

    # -- traps

    def snare(
        self,
        name: str,
        doors: list[Proxy],
        match: Match,
        when: Literal["before", "after", "passed"],
        scope: Literal["process", "pod"],
        *,
        within: float = 5.0,
        wanted: Callable[[Command], bool] | None = None,
        every: bool = False,
    ) -> None:
        """Kill whoever sends the next matching command, at that very moment; give up after `within` seconds.

        At the first of these doors, or with `every` at each of them.
        """
        first = threading.Lock()

        def strike(pid: int) -> None:
            if every or first.acquire(blocking=False):
                self.kill_by_pid(name, pid, scope)

        traps = [(door, door.strike(match, when, strike, wanted)) for door in doors]
        self._snares.append(Snare(traps, now() + within, first.locked, every=every))

    def lose(self, kind: Literal["drop", "hold"], door: Proxy, target: str, match: Match, within: float = 5.0) -> None:
        """Lose the next reply to a matching command, or let the command itself arrive a second late."""
        trap = door.drop_reply(match) if kind == "drop" else door.hold(match)

        def note(door: Proxy, trap: Trap) -> None:
            command = door.scripts.name(trap.sprung or ())
            self.log("lose-reply" if kind == "drop" else "late-command", target, "none", command=command)
            if kind == "hold":
                self.later(1.0, trap.deliver_soon)

        self._snares.append(Snare([(door, trap)], now() + within, lambda: trap.sprung is not None, note))

    def _look_after(self, snare: Snare) -> bool:
        """Whether it is over: sprung, or given up."""
        over = now() >= snare.until
        if snare.sprung() or over:
            for door, trap in snare.traps:
                door.disarm(trap)
            if snare.sprung() and snare.note is not None:
                snare.note(*snare.traps[0])
            return True
        return False
