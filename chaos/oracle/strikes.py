"""What faults did to processes: ended them, held them up, undid writes. Only this may explain a second run."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator

import attrs

from chaos.oracle.fleet import Fleet, Life, Process
from chaos.oracle.spans import Span, Spans, outside
from chaos.records import FaultRecord, Run, Settings

GRAIN = 0.25
"""Seconds that two readings of one moment may lie apart, on a busy machine."""

SEEN_WITHIN = 1.0
"""Seconds after which a death that nobody armed is noted at the latest."""

SETTLE_WITHIN = 1.0
"""Seconds from the end of a run to its settle in Redis, while nothing stands between."""

LOSE_WITHIN = 2.0
"""Seconds of acknowledged writes that Redis may lose with `appendfsync everysec`."""

GIVES_UP = 2.0
"""Seconds after timeout and grace in which a supervisor that stops kills whatever is left (docs/guarantees.md, 5)."""

HINDERS = frozenset({"cut", "slow", "command"})
"""Marks in a fault's detail: it ends nobody, but keeps its processes from Redis, or one of their commands."""

ENDS_CONNECTIONS = frozenset({"cut", "client-kill"})
"""Faults that end all connections of a process at one moment."""


@attrs.frozen(kw_only=True)
class Death:
    """Processes ended at some moment from `earliest` to `latest`."""

    name: str
    earliest: float
    latest: float
    pids: frozenset[int] | None
    """None: all of the pod, whose container ends as a whole."""
    pod: str | None
    """The pod that was struck, if its target is one."""
    whole: bool
    """Whether the supervisor died too."""
    known: float | None
    """From when its recovery is measured: when it was struck, or seen if nobody had armed it or it happened out of
    sight. None if nobody knows.
    """
    number: int | None = None
    """Of the fault, if it is one."""


@attrs.frozen(kw_only=True)
class Hold:
    """Processes could not reach Redis, or stood still. `pids` None: all."""

    name: str
    at: float
    until: float
    pids: frozenset[int] | None
    pod: str | None

    def overlaps(self, begin: float, end: float) -> bool:
        """Whether it held at a moment of this span; it may have let go a little later than noted."""
        return self.at <= end and begin <= self.until + GRAIN


@attrs.frozen(kw_only=True)
class Loss:
    """Redis lost what it had been given in the last `reach` seconds before `at`; it was back at `until`."""

    name: str
    at: float
    until: float
    reach: float

    @property
    def horizon(self) -> float:
        """What was applied before this moment was kept."""
        return self.at - self.reach

    def may_undo(self, earliest: float, latest: float) -> bool:
        """Whether a write that was applied at some moment of this span may be lost."""
        return earliest <= self.until + GRAIN and self.horizon <= latest


class Strikes:
    """All faults of a run, by the process that they struck."""

    def __init__(
        self,
        settings: Settings,
        fleet: Fleet,
        faults: list[FaultRecord],
        holders: Iterable[tuple[Run, Run | None]] = (),
    ) -> None:
        """`holders` are the runs that keep the interpreter of their process to themselves, and their next runs."""
        self._settings = settings
        self._fleet = fleet
        self.undone = [_loss(fault, settings) for fault in faults if fault.harm == "undone"]
        deaths = [self._death(fault) for fault in faults if fault.harm == "dead"]
        deaths += [_grace_over(life) for life in fleet.lives.values() if life.kill < math.inf]
        self._main_deaths: dict[str, float] = {}
        for death in deaths:
            for pod in self._pods(death) if death.whole else ():
                self._main_deaths[pod] = min(death.earliest, self._main_deaths.get(pod, math.inf))
        deaths += [death for life in fleet.lives.values() for death in self._stuck(life)]
        self._deaths: defaultdict[int | str | None, list[Death]] = defaultdict(list)
        for death in deaths:
            for key in [death.pod] if death.pids is None else death.pids:
                self._deaths[key].append(death)
        holders = list(holders)
        holds = [self._hold(fault) for fault in faults if fault.harm == "held"]
        self._holds = _Holds([*holds, *self._cut_while_deaf(faults, holders)])
        self._outages = Spans(self._hindrance(fault) for fault in faults if fault.outage)
        self._hindrances = self._index_hindrances(faults)
        self._deaths_of: dict[Process, list[Death]] = {}
        self._spans_of: dict[Process, Spans] = {}
        for run, following in holders:
            until = run.ended_at if run.ended_at is not None else following.started_at if following else math.inf
            process = fleet.process(run)
            self._hindrances[process.pid].append((process.pod, (run.started_at, min(until, process.until))))

    # -- what happened to a process

    def deaths(self, process: Process) -> list[Death]:
        """Return what may have ended this process, in order of time."""
        found = self._deaths_of.get(process)
        if found is None:
            found = self._deaths_of[process] = [
                death
                for death in (*self._deaths[process.pid], *self._deaths[process.pod or ""])
                if _same_pod(death.pod, process)
                and process.since <= death.latest
                and death.earliest <= process.until + GRAIN
            ]
            found.sort(key=lambda death: death.earliest)
        return found

    def holds(self, process: Process, begin: float, end: float) -> list[Hold]:
        """Return what held this process up at a moment of this span."""
        return [
            hold
            for hold in self._holds.of(process.pid)
            if hold.overlaps(begin, end) and _same_pod(hold.pod, process) and hold.at <= process.until
        ]

    def unhindered(self, process: Process, begin: float, end: float) -> float:
        """Return the seconds of a span in which this process could work and reach Redis."""
        if end <= begin:
            return 0.0
        own = self._spans_of.get(process)
        if own is None:
            names = {process.pod, process.replica} - {None, ""}
            spans = [span for pod, span in self._hindrances[process.pid] if _same_pod(pod, process)]
            spans += [span for name in names for _, span in self._hindrances[name]]
            spans += [span for _, span in self._hindrances[None]]
            own = self._spans_of[process] = Spans(spans)
        return outside(begin, end, self._outages, own)

    def orphaned(self, process: Process) -> float:
        """Return when the supervisor of this process was killed; infinite if it was not."""
        return self._main_deaths.get(process.pod, math.inf) if process.pod is not None else math.inf

    def main_death(self, pod: str) -> float:
        """Return when a pod's supervisor was killed; infinite if it was not."""
        return self._main_deaths.get(pod, math.inf)

    def told(self, process: Process) -> float:
        """Return when this process was first told to stop; infinite if it was not. An orphan tells itself."""
        life = self._fleet.life(process)
        return min(life.told if life else math.inf, self.orphaned(process))

    # -- from records to strikes

    def _death(self, fault: FaultRecord) -> Death:
        pod, whole = self._pod(fault), self._whole(fault)
        afar = pod in self._fleet.lives and bool(self._fleet.lives[pod].host)
        seen = (fault.observed or afar) and fault.ended_at is not None
        return Death(
            name=fault.name,
            earliest=fault.at - (SEEN_WITHIN if fault.observed else 0.0),
            latest=(fault.at if fault.ended_at is None else fault.ended_at) + GRAIN,
            pids=None if afar and whole else frozenset(fault.pids),
            pod=pod,
            whole=whole,
            known=fault.ended_at if seen else fault.at,
            number=fault.number,
        )

    def _hold(self, fault: FaultRecord) -> Hold:
        # A machine that stood still holds up everybody. Any other fault without processes held up nobody.
        everybody = fault.observed and not fault.pids
        return Hold(
            name=fault.name,
            at=fault.at,
            until=math.inf if fault.ended_at is None else fault.ended_at,
            pids=None if everybody else frozenset(fault.pids),
            pod=self._pod(fault),
        )

    def _cut_while_deaf(self, faults: list[FaultRecord], holders: list[tuple[Run, Run | None]]) -> Iterator[Hold]:
        """Yield what may have passed for the death of a process that could not connect again.

        Its interpreter was held, or it stood still, while its connections were ended; then its supervisor missed two
        beats. No connection and two missed beats is what the shortcut takes for a death (docs/guarantees.md, 4).
        """
        deaf = [
            (self._fleet.process(run).pid, run.started_at, math.inf if run.ended_at is None else run.ended_at)
            for run, _ in holders
        ]
        deaf += [(pid, *in_force(fault)) for fault in faults if fault.name == "freeze-child" for pid in fault.pids]
        ended = [fault for fault in faults if fault.outage or fault.name in ENDS_CONNECTIONS]
        mute = [fault for fault in faults if fault.harm == "none" and fault.detail.get("cut") and len(fault.pids) > 1]
        for pid, begin, end in deaf:
            for fault in mute:
                at, until = max(begin, fault.at), in_force(fault)[1]  # it cannot connect before that, either
                cut = any(
                    begin <= one.at <= end and (not one.pids or pid in one.pids) for one in ended if one is not fault
                )
                if pid in fault.pids and cut and at <= end and until - at >= 2 * self._settings.beat - GRAIN:
                    yield Hold(name=fault.name, at=at, until=until, pids=frozenset({pid}), pod=self._pod(fault))

    def _whole(self, fault: FaultRecord) -> bool:
        """Whether a fault ended a supervisor, alone or with its processes."""
        kind = fault.detail.get("kind")
        if kind is not None:
            return kind in ("pod", "main")
        return any(pid in life.mains for pid in fault.pids for life in self._fleet.owners(pid, fault.at))

    def _pod(self, fault: FaultRecord) -> str | None:
        if "host" in fault.detail and fault.pids:
            return self._fleet.name_at(fault.detail["host"], fault.pids[0], fault.at)
        known = fault.target in self._fleet.lives
        # Where ids alone say nothing, they say nothing of a pod that nobody knows, either.
        return fault.target if known or (self._fleet.afar and fault.pids) else None

    def _pods(self, death: Death) -> set[str]:
        if death.pod is not None:
            return {death.pod}
        return {life.name for pid in death.pids or () for life in self._fleet.owners(pid, death.earliest)}

    def _stuck(self, life: Life) -> Iterator[Death]:
        """What a stop itself may end: processes whose jobs do not unwind, or that cannot reach Redis."""
        if self._settings.stop is None:
            return
        # Of a container that ends with its supervisor nothing is left that would have to stop.
        for told in {life.term, math.inf if life.host else self.main_death(life.name)} - {math.inf}:
            begin = min((life.told if life.host else told) + self._settings.stop, life.hurried)
            latest = (life.stopping if life.host else told) + self._settings.stop
            if told == life.term and life.end < begin:
                continue
            yield Death(
                name="stop",
                earliest=begin,
                latest=latest + GIVES_UP + GRAIN,
                pids=None if life.host else frozenset(life.spans),
                pod=life.name,
                whole=False,
                known=None,
            )

    def _hindrance(self, fault: FaultRecord) -> Span:
        # Whoever was kept from Redis is back there within `confirm`: that is what the setting stands for.
        begin, end = in_force(fault)
        return begin, end + self._settings.confirm

    def _index_hindrances(
        self, faults: list[FaultRecord]
    ) -> defaultdict[int | str | None, list[tuple[str | None, Span]]]:
        index: defaultdict[int | str | None, list[tuple[str | None, Span]]] = defaultdict(list)
        for fault in faults:
            if fault.harm in ("dead", "undone") or not (fault.harm == "held" or hinders(fault)):
                continue
            keys: Iterable[int | str | None] = fault.pids or [fault.target]
            if fault.harm == "held" and fault.observed and not fault.pids:
                keys = [None]
            for key in keys:
                index[key].append((self._pod(fault), self._hindrance(fault)))
        return index


class _Holds:
    """Holds by process id."""

    def __init__(self, holds: Iterable[Hold]) -> None:
        self._all: list[Hold] = []
        self._by_pid: defaultdict[int, list[Hold]] = defaultdict(list)
        for hold in holds:
            if hold.pids is None:
                self._all.append(hold)
            for pid in hold.pids or ():
                self._by_pid[pid].append(hold)

    def of(self, pid: int) -> list[Hold]:
        return [*self._by_pid.get(pid, ()), *self._all]


def in_force(fault: FaultRecord) -> Span:
    """Return from when to when a fault was in force; one that was never taken back, for ever."""
    if fault.ended_at is not None:
        return fault.at, fault.ended_at
    return fault.at, fault.at if fault.harm == "dead" or "command" in fault.detail else math.inf


def hinders(fault: FaultRecord) -> bool:
    """Whether a fault keeps processes, or one of their commands, from Redis without ending anything."""
    return any(fault.detail.get(mark) for mark in HINDERS)


def _same_pod(pod: str | None, process: Process) -> bool:
    return pod is None or process.pod in (None, pod)


def _grace_over(life: Life) -> Death:
    at = life.kill
    pids = None if life.host else frozenset(pid for pid in life.spans if life.had(pid, at))
    return Death(name="grace-over", earliest=at, latest=at + GRAIN, pids=pids, pod=life.name, whole=True, known=at)


def _loss(fault: FaultRecord, settings: Settings) -> Loss:
    everything = bool(fault.detail.get("all")) or settings.durability == "none"
    reach = math.inf if everything else LOSE_WITHIN if settings.durability == "everysec" else 0.0
    until = fault.at if fault.ended_at is None else fault.ended_at
    return Loss(name=fault.name, at=fault.at, until=until, reach=reach)
