"""A ledger as a real run leaves it, made up: pods that die and come back, faults of all harms, jobs that run again."""

from __future__ import annotations

import random
from itertools import count
from pathlib import Path

import attrs

from chaos.ledger import Ledger
from chaos.records import Audit, FaultRecord, Final, Harm, Outcome, PodEvent, Run, Sent, Settings
from chaos.verdict import Check, Finding, Recovery, Verdict

BEGAN = 1000.0
"""The machine was up for a while before the run."""

KINDS: tuple[tuple[str, Harm, float, int], ...] = (
    ("kill-child", "dead", 0.0, 34),
    ("kill-pod", "dead", 0.0, 26),
    ("oom", "dead", 0.0, 6),
    ("freeze-pod", "held", 14.0, 8),
    ("cut-connection", "held", 5.0, 12),
    ("drop-reply", "none", 0.0, 14),
    ("script-flush", "none", 0.0, 6),
    ("delete-pod", "none", 0.0, 8),
    ("redis-freeze", "held", 6.0, 3),
    ("redis-kill", "undone", 2.0, 2),
    ("clock-step", "none", 0.0, 1),
)
"""Name, harm, how long it lasts in seconds, weight."""


@attrs.define
class _Life:
    """One start of a pod, with its worker processes by pid: from when, until when, and the fault that ends it."""

    pod: str
    began: float
    ready: float
    ended: float
    pids: dict[int, tuple[float, float, int | None]] = attrs.field(factory=dict)


def settings(*, scenario: str = "mixed", minutes: float = 10.0, jobs: int = 12_000, pods: int = 4) -> Settings:
    """The settings of a run that can see every fault of this module, and one that never fires."""
    return Settings(
        scenario=scenario,
        seed=20_031,
        minutes=minutes,
        jobs=jobs,
        pods=pods,
        processes=2,
        concurrency=5,
        beat=1.0,
        ttl=10.0,
        confirm=8.0,
        crash_limit=3,
        durability="everysec",
        client_list=True,
        armed=tuple(name for name, *_ in KINDS if name != "oom"),
        revision="0.1.0-14-g431b17e",
    )


def build(
    path: Path, *, minutes: float = 10.0, jobs: int = 12_000, faults: int = 120, pods: int = 4, seed: int = 7
) -> Ledger:
    """Write a run of this size. Close the ledger."""
    chance = random.Random(seed)
    ledger = Ledger(path)
    ledger.say_settings(settings(minutes=minutes, jobs=jobs, pods=pods))
    ledger.say("server_version", "valkey 9.1.0")
    until = BEGAN + minutes * 60
    planned = _planned(chance, until, faults)
    lives, struck = _lives(chance, planned, until, pods)
    for life in lives:
        for event in _events(life, until):
            ledger.add_pod_event(event)
    sent, runs = _work(chance, lives, struck, until, jobs)
    for fault in struck:
        open_runs = chance.randrange(30) if fault.at > BEGAN + 10 else 0
        ledger.add_fault(attrs.evolve(fault, in_flight=open_runs))
    ledger.add_all(sent, runs, ())
    for moment in range(int(BEGAN) + 5, int(until), 10):
        waiting = chance.randrange(200)
        ledger.add_audit(Audit(started_at=moment, ended_at=moment + 0.02, homes={"queue": waiting, "private": 20}))
    ledger.say_final(final(faults_ended_at=until - minutes * 6, drained_at=until - minutes * 4, processed=jobs))
    return ledger


def final(*, faults_ended_at: float, drained_at: float | None, processed: int = 0) -> Final:
    """An end without a flaw."""
    return Final(
        faults_ended_at=faults_ended_at,
        drained_at=drained_at,
        drain_within=120.0,
        left={},
        homes={},
        changed={},
        processed=processed,
        failed=0,
        trimmed=0,
        status={},
        strange_keys=[],
        connections=(1, 1),
        processes=[],
        descriptors={},
        idle=(9.0, 9.1),
    )


def _planned(chance: random.Random, until: float, faults: int) -> list[FaultRecord]:
    kinds = chance.choices(KINDS, [weight for *_, weight in KINDS], k=faults)
    length = until - BEGAN
    moments = sorted(chance.uniform(BEGAN + 0.05 * length, until - 0.12 * length) for _ in kinds)
    planned = []
    for number, (at, (name, harm, lasts, _)) in enumerate(zip(moments, kinds, strict=True), 1):
        target = "redis" if name.startswith(("redis", "script")) else "machine" if name == "clock-step" else ""
        lasted = lasts * chance.uniform(0.6, 1.4)
        planned.append(
            FaultRecord(
                number=number,
                name=name,
                target=target,
                harm=harm,
                at=at,
                ended_at=at + lasted if lasts else None,
                outage=name.startswith("redis"),
                observed=name == "oom",
            )
        )
    return planned


def _lives(
    chance: random.Random, planned: list[FaultRecord], until: float, pods: int
) -> tuple[list[_Life], list[FaultRecord]]:
    """Carry out the plan: which processes lived when, and the faults with the pods and processes that they struck."""
    pids = count(4000)
    current: dict[str, _Life] = {}
    lives, struck = [], []

    def start(replica: str, at: float, incarnation: int) -> None:
        life = _Life(f"{replica}-{incarnation}", at, at + chance.uniform(0.8, 2.4), until)
        life.pids = {next(pids): (life.ready, until, None) for _ in range(2)}
        current[replica] = life
        lives.append(life)

    for number in range(1, pods + 1):
        start(f"pod-{number}", BEGAN + number * 0.1, 1)
    for fault in planned:
        there = [life for life in current.values() if life.began <= fault.at]
        if fault.target or not there:
            struck.append(fault)
            continue
        life = chance.choice(there)
        alive = [pid for pid, (_, end, _) in life.pids.items() if end >= fault.at]
        hit = tuple(alive[:1]) if fault.name in {"kill-child", "oom"} else tuple(alive)
        struck.append(attrs.evolve(fault, target=life.pod, pids=hit))
        if fault.harm == "dead" or fault.name == "delete-pod":
            leaving = fault.at + (chance.uniform(1, 8) if fault.name == "delete-pod" else 0)
            for pid in hit:
                life.pids[pid] = (life.pids[pid][0], leaving, fault.number if fault.harm == "dead" else None)
            if fault.name in {"kill-pod", "delete-pod"}:
                life.ended = leaving
                replica, _, incarnation = life.pod.rpartition("-")
                start(replica, leaving + 0.4, int(incarnation) + 1)
            else:
                life.pids[next(pids)] = (fault.at + 0.5, until, None)
    return lives, struck


def _events(life: _Life, until: float) -> list[PodEvent]:
    events = [
        PodEvent(pod=life.pod, what="start", at=life.began),
        PodEvent(pod=life.pod, what="members", at=life.began + 0.1, detail={"pids": list(life.pids)}),
        PodEvent(pod=life.pod, what="ready", at=min(life.ready, life.ended)),
    ]
    if life.ended < until:
        killed = any(number is not None for *_, number in life.pids.values())
        events += [] if killed else [PodEvent(pod=life.pod, what="term", at=max(life.ready, life.ended - 4))]
        events.append(PodEvent(pod=life.pod, what="end", at=life.ended, detail={"code": -9 if killed else 0}))
    return events


def _work(
    chance: random.Random, lives: list[_Life], struck: list[FaultRecord], until: float, jobs: int
) -> tuple[list[Sent], list[Run]]:
    """Run each job on a process that lives, again after each kill, and never while Redis is away."""
    away = [(fault.at, fault.ended_at) for fault in struck if fault.outage and fault.ended_at is not None]
    homes = [(pid, life, since, end, by) for life in lives for pid, (since, end, by) in life.pids.items()]
    sent: list[Sent] = []
    runs: list[Run] = []
    length = (until - BEGAN) * 0.86
    for token in range(1, jobs + 1):
        sent.append(_sent(token, BEGAN + 3 + length * token / jobs))
        ready: float | None = sent[-1].sent_at
        while ready is not None:
            started = max([ready, *(back + 0.05 for gone, back in away if gone <= ready <= back)])
            able = [home for home in homes if home[2] <= started < home[3]]
            if not able:
                ready = started + 1
                continue
            pid, life, _, end, by = chance.choice(able)
            ended = started + chance.lognormvariate(-2, 1.2)
            ready = None
            outcome: Outcome | None = "done"
            if ended > end:
                outcome = "interrupted" if by is None else None
                slow = chance.random()
                ready = end + (chance.uniform(0.004, 0.05) if slow < 0.5 or by is None else 1.5 + 2.4 * slow)
            run = _run(f"run-{len(runs) + 1}", token, life.pod, pid, started)
            runs.append(attrs.evolve(run, ended_at=None if outcome is None else min(ended, end), outcome=outcome))
    return sent, runs


def _sent(token: int, at: float) -> Sent:
    return Sent(
        token=token,
        name="work",
        queue="default",
        via="enqueue",
        kind="work",
        digest="d",
        expected="done",
        sent_at=at,
        known_at=at + 0.002,
        answer="acked",
        jid=f"{token:024x}",
    )


def _run(name: str, token: int, pod: str, pid: int, started_at: float) -> Run:
    return Run(
        run=name,
        token=token,
        jid=f"{token:024x}",
        attempt=1,
        identity=f"{pod}:{pid}:0123456789ab",
        pid=pid,
        digest="d",
        started_at=started_at,
    )


PROMISES = (
    ("no-loss", "A job whose enqueue was acknowledged is done or buried at the end, and no other job ran."),
    ("conservation", "At every instant a job has exactly one home in Redis, until it is done."),
    ("duplicates", "Every further run of a job follows a failure or a fault that explains it."),
    ("fencing", "No effect is accepted with an older fence than one that was already seen."),
    ("crash-budget", "A killer runs at most budget + 1 times, and its innocent neighbours finish."),
    ("recovery", "Jobs of the dead run again within the published bounds."),
    ("liveness", "When the faults stop, everything drains, and idle traffic returns to its baseline."),
    ("leaks", "No key, connection, process or descriptor is left behind."),
    ("counters", "Counters and status agree with the ledger."),
)


def clean(ledger: Ledger) -> Verdict:
    """A verdict that finds nothing, with recoveries of all kinds and sizes."""
    chance = random.Random(11)
    jobs = len(ledger.rows("select 1 from sent"))
    child = tuple(chance.lognormvariate(-4.4, 0.8) for _ in range(700))
    pod = tuple(min(1.8 + chance.gammavariate(2, 0.25), 3.9) for _ in range(420))
    ttl = tuple(chance.uniform(17.2, 18.6) for _ in range(36))
    counts = {"sent": jobs, "acked": jobs - 14, "unknown": 14, "done": jobs - 9, "buried": 9, "failed runs": 431}
    again = {"again: kill-child": 700, "again: kill-pod": 420, "again: freeze-pod": 36, "again: oom": 12}
    return Verdict(
        checks=tuple(
            Check(
                name=name,
                promise=promise,
                judged=jobs - 5 * number,
                skipped="Redis lost writes" if name == "counters" else "",
            )
            for number, (name, promise) in enumerate(PROMISES)
        ),
        void=(),
        recoveries=(
            Recovery(kind="child", seconds=child, bounded=child[:610], bound=1.0),
            Recovery(kind="pod", seconds=pod, bounded=pod[:377], bound=4.0),
            Recovery(kind="ttl", seconds=ttl, bounded=ttl[:30], bound=20.0),
            Recovery(kind="held", seconds=(12.5, 13.1, 40.2), bounded=(), bound=None),
            Recovery(kind="quarantine", seconds=(), bounded=(), bound=30.0),
        ),
        counts=counts | again,
    )


def broken(ledger: Ledger) -> Verdict:
    """The same run, found to have lost jobs, to have run some twice, and to have been slow."""
    verdict = clean(ledger)
    chance = random.Random(13)
    found: dict[str, tuple[Finding, ...]] = {
        "no-loss": tuple(
            Finding(what=f"job {token} was acknowledged, never ran, and is nowhere in Redis", token=token)
            for token in chance.sample(range(1, 1000), 5)
        ),
        "duplicates": tuple(
            Finding(
                what=f"job {run.token} was done, and ran again on {run.identity} although nothing had happened to it",
                token=run.token,
                at=run.started_at,
            )
            for run in chance.sample(ledger.runs(), 23)
        ),
        "leaks": (Finding(what="the key private:pod-1:4000:0123456789ab:default is not in the key table"),),
    }
    first, *rest = verdict.recoveries
    slow = attrs.evolve(first, seconds=(*first.seconds, 1.7, 2.9), bounded=(*first.bounded, 1.7, 2.9))
    return attrs.evolve(
        verdict,
        checks=tuple(attrs.evolve(check, findings=found.get(check.name, ())) for check in verdict.checks),
        recoveries=(slow, *rest),
    )


def void(ledger: Ledger) -> Verdict:
    """The same run, found not to count."""
    return attrs.evolve(
        clean(ledger),
        void=(
            "redis-freeze was armed and never fired with jobs in flight",
            "the machine stood still for 4.2 s, at 3:11",
        ),
    )


def empty(path: Path) -> tuple[Ledger, Verdict]:
    """A run that ended before anything happened. Close the ledger."""
    ledger = Ledger(path)
    ledger.say_settings(attrs.evolve(settings(scenario="nothing", minutes=1.0, jobs=0), armed=()))
    checks = tuple(Check(name=name, promise=promise, judged=0) for name, promise in PROMISES)
    return ledger, Verdict(checks=checks, void=("no job was sent",), recoveries=(), counts={})
