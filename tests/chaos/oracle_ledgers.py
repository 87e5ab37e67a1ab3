"""Small ledgers, written by hand: what a run would have left if it had gone exactly so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from chaos.ledger import Ledger
from chaos.oracle import judge
from chaos.records import Audit, Effect, FaultRecord, Final, Harm, Outcome, PodEvent, Run, Sent, Settings
from chaos.verdict import Check, Recovery, Verdict

SETTINGS = Settings(
    scenario="by hand",
    seed=1,
    minutes=1.0,
    jobs=1,
    pods=3,
    processes=2,
    concurrency=4,
    beat=1.0,
    ttl=10.0,
    confirm=8.0,
    crash_limit=3,
    durability="everysec",
    client_list=True,
    armed=(),
    revision="0",
)

FINAL = Final(
    faults_ended_at=900.0,
    drained_at=910.0,
    drain_within=60.0,
    left={},
    homes={},
    changed={},
    processed=0,
    failed=0,
    trimmed=0,
    status={},
    strange_keys=[],
    connections=(3, 3),
    processes=[],
    descriptors={},
    idle=(20.0, 21.0),
)


class Book:
    """A run with three pods of two worker processes each, ready at 2 s: pids 11 and 12 of `a-1`, 21 and 22 of `b-1`,
    31 and 32 of `c-1`; the supervisors are 10, 20 and 30. A census at 500 s finds nothing wrong.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = attrs.evolve(SETTINGS, **settings)
        self.final: Final | None = FINAL
        self.sent: dict[int, Sent] = {}
        self.runs: list[Run] = []
        self.effects: list[Effect] = []
        self.faults: list[FaultRecord] = []
        self.events: list[PodEvent] = []
        self.audits: list[Audit] = [Audit(started_at=500.0, ended_at=500.1, homes={})]
        self.facts: dict[str, Any] = {}
        for name, main in (("a", 10), ("b", 20), ("c", 30)):
            self.pod(f"{name}-1", main, at=1.0)

    # -- pods

    def pod(self, name: str, main: int, *, at: float) -> None:
        """A pod that starts, is seen with all its processes, and is ready a second later."""
        children = [main + 1, main + 2]
        detail = {"pids": [main, *children], "children": children, "main": main}
        self.event(name, "start", at, replica=name.rpartition("-")[0])
        self.event(name, "members", at + 0.5, **detail)
        self.event(name, "ready", at + 1.0)

    def event(self, pod: str, what: str, at: float, **detail: Any) -> None:
        """A moment of a pod's life."""
        self.events.append(PodEvent(pod=pod, what=what, at=at, detail=detail))

    def members(self, pod: str, at: float, *pids: int, main: int) -> None:
        """What a look at a pod's processes has found."""
        children = [pid for pid in pids if pid != main]
        self.event(pod, "members", at, pids=list(pids), children=children, main=main)

    # -- jobs

    def job(self, token: int, **changes: Any) -> Sent:
        """A job that was acknowledged at 5 s."""
        plain = Sent(
            token=token,
            name="work",
            queue="default",
            via="enqueue",
            kind="work",
            digest=f"digest-{token}",
            expected="done",
            sent_at=4.9,
            known_at=5.0,
            answer="acked",
            jid=f"jid-{token}",
        )
        self.sent[token] = attrs.evolve(plain, **changes)
        return self.sent[token]

    def run(
        self,
        token: int,
        pid: int,
        start: float,
        end: float | None = None,
        outcome: Outcome | None = None,
        **changes: Any,
    ) -> Run:
        """A run of a job, which is made if it is not there. With an end it is done, unless said otherwise."""
        if token not in self.sent:
            self.job(token)
        if end is not None and outcome is None:
            outcome = "done"
        plain = Run(
            run=f"run-{len(self.runs)}",
            token=token,
            jid=f"jid-{token}",
            attempt=1,
            identity=f"box:{pid}:0",
            pid=pid,
            digest=f"digest-{token}",
            started_at=start,
            ended_at=end,
            outcome=outcome,
        )
        self.runs.append(attrs.evolve(plain, **changes))
        return self.runs[-1]

    def effect(self, run: Run, fence: int | None, *, accepted: bool = True) -> None:
        """What a run wrote; in the order of the calls."""
        at, number = run.started_at, len(self.effects) + 1
        effect = Effect(number=number, run=run.run, token=run.token, fence=fence, at=at, accepted=accepted)
        self.effects.append(effect)

    def home(self, token: int, *homes: str) -> None:
        """Where a job lies at the end."""
        assert self.final is not None
        self.final = attrs.evolve(self.final, homes=self.final.homes | {token: list(homes)})

    def end(self, **changes: Any) -> None:
        """Other measurements at the end."""
        assert self.final is not None
        self.final = attrs.evolve(self.final, **changes)

    # -- faults

    def fault(self, name: str, harm: Harm, at: float, *pids: int, **changes: Any) -> FaultRecord:
        """A fault while jobs were in flight."""
        plain = FaultRecord(
            number=len(self.faults) + 1, name=name, target="somebody", harm=harm, at=at, pids=pids, in_flight=1
        )
        self.faults.append(attrs.evolve(plain, **changes))
        return self.faults[-1]

    def kill(self, at: float, *pids: int, kind: str = "child", **changes: Any) -> FaultRecord:
        """SIGKILL."""
        detail = {"kind": kind} | changes.pop("detail", {})
        return self.fault(f"kill-{kind}", "dead", at, *pids, ended_at=at, detail=detail, **changes)

    # -- the verdict

    def write(self, ledger: Ledger) -> None:
        """Write everything down."""
        ledger.say_settings(self.settings)
        ledger.add_all(self.sent.values(), self.runs, self.effects)
        for fault in self.faults:
            ledger.add_fault(fault)
        for event in self.events:
            ledger.add_pod_event(event)
        for audit in self.audits:
            ledger.add_audit(audit)
        for name, value in self.facts.items():
            ledger.say(name, value)
        if self.final is not None:
            ledger.say_final(self.final)

    def judge(self) -> Verdict:
        """What the oracle says."""
        with Ledger(Path(":memory:")) as ledger:
            self.write(ledger)
            return judge(ledger)

    def check(self, name: str) -> Check:
        """What became of one promise."""
        return next(check for check in self.judge().checks if check.name == name)

    def found(self, name: str) -> list[str]:
        """What was found against one promise, as sentences."""
        return [finding.what for finding in self.check(name).findings]

    def again(self) -> dict[str, int]:
        """How many second runs had which cause."""
        return {name: count for name, count in self.judge().counts.items() if name.startswith("again")}

    def recovery(self, kind: str) -> Recovery:
        """The recoveries of one kind."""
        return next(recovery for recovery in self.judge().recoveries if recovery.kind == kind)


def change(book: Book, run: Run, **changes: Any) -> None:
    """Replace a run by one that differs."""
    book.runs[book.runs.index(run)] = attrs.evolve(run, **changes)
