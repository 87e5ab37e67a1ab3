"""What the ledger holds, as values. Times are seconds of `now()`, one clock for all processes of the machine.

A *token* is the harness's own number of one job; it travels as the job's first argument, so a job can be followed even
when the producer never learned its jid. A *run* is one start of the job's function.
"""

from __future__ import annotations

import time
from typing import Any, Literal

import attrs

Answer = Literal["acked", "refused", "unknown"]
"""What a producer learned: enqueued, surely not enqueued, or nothing."""

Outcome = Literal["done", "failed", "interrupted"]
"""How a run ended by its own word: it returned, it raised, it was told to stop. A run that was killed says nothing."""

Harm = Literal["none", "dead", "held", "undone"]
"""What a fault may do to a run, and thus which second run it explains.

`none`: nothing; a run that follows it needs another cause (a lost reply, a restart of Redis that keeps everything).
`dead`: its processes ended at `at`: what they ran, and what they had finished and not settled, runs again.
`held`: its processes could not reach Redis, or stood still, from `at` to `ended_at`: they may have been declared dead.
`undone`: Redis lost writes that it had acknowledged; anything may be lost or run again.
"""

Expected = Literal["done", "buried", "any"]
"""What must become of a job: it is done; it ends in the dead set (a killer, one out of retries); either."""


def now() -> float:
    """Seconds of the machine's monotonic clock, the same in every process, untouched by clock steps."""
    return time.monotonic()


@attrs.frozen(kw_only=True)
class Sent:
    """One job as its producer knows it. `digest` is that of its arguments (see chaos.jobs.digest)."""

    token: int
    name: str
    queue: str
    via: str
    """`enqueue`, `enqueue_many`, `enqueue_in`, `job` (sent from inside a job)."""
    kind: str
    """The workload's kind, as `work`, `killer`, `once`; what the oracle may expect of it follows from it."""
    digest: str
    expected: Expected
    sent_at: float
    known_at: float | None = None
    answer: Answer | None = None
    """None: the producer was still waiting when the ledger ended; counts as unknown."""
    jid: str | None = None


@attrs.frozen(kw_only=True)
class Run:
    """One start of a job's function. `ended_at` None: it never said that it ended."""

    run: str
    token: int
    jid: str
    attempt: int
    """1 on the first run, one more after each failure: reliq's own count."""
    identity: str
    pid: int
    digest: str
    started_at: float
    crashes: int | None = None
    fence: int | None = None
    fence_at: float | None = None
    ended_at: float | None = None
    outcome: Outcome | None = None
    code: str = ""
    """Which version of the application ran it."""

    @property
    def host(self) -> str:
        """The host's name in its identity: of a pod on a cluster, the pod's; of all pods of this machine, the same."""
        return self.identity.partition(":")[0]


@attrs.frozen(kw_only=True)
class Effect:
    """One write of a run to the outside world, in the order in which the world received them (`number`)."""

    number: int
    run: str
    token: int
    fence: int | None
    at: float
    accepted: bool
    """Whether the world took it: it refuses a smaller fence than it has seen for this token."""


@attrs.frozen(kw_only=True)
class FaultRecord:
    """One fault. `ended_at` is when it was taken back; None while it holds.

    Of one that ends processes it is when they were known to be dead: they died between `at` and `ended_at`.
    """

    number: int
    name: str
    """Its name in chaos.faults, as `kill-child`."""
    target: str
    """The pod's name, `redis`, or what else it struck. With `host` in its detail, a process of that host."""
    harm: Harm
    at: float
    ended_at: float | None = None
    pids: tuple[int, ...] = ()
    """The processes that it ended or held up: for a broken connection, those of the pod behind it. Empty for a fault of
    Redis, which strikes all."""
    outage: bool = False
    """Whether Redis was of no use to anybody from `at` to `ended_at`."""
    in_flight: int = 0
    """How many runs were open when it struck."""
    observed: bool = False
    """Nobody armed it, it was seen: the machine stood still, a killer job killed its process."""
    detail: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class PodEvent:
    """A moment in a pod's life.

    `start` (detail: replica; host, if its processes report a host's name that no other pod has); `members` whenever its
    processes change (detail: pids, all of them; children, the worker processes); `ready`, its workers have registered;
    `prestop` and `term`, when it was told; `kill`, its grace was over; `end` (detail: code). What was seen late has
    `since` in its detail: it came between that moment and `at`.
    """

    pod: str
    """NAME-INCARNATION, as `pod-1-3`: unique for each start."""
    what: str
    at: float
    detail: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Audit:
    """One census of all jobs' homes, taken by one script. `homes` counts jobs by kind of home.

    `doubled`: tokens with more than one home, and where. `missing`: acknowledged tokens without a home that nobody had
    reported done when the script answered; a run that ended before `ended_at` clears them. `changed`: tokens whose
    payload became other bytes between two homes that must not change it.
    """

    started_at: float
    ended_at: float
    homes: dict[str, int]
    doubled: dict[int, list[str]] = attrs.field(factory=dict)
    missing: list[int] = attrs.field(factory=list)
    changed: dict[int, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Final:
    """What was measured when the faults had stopped, and again when nothing was left to do.

    None: nobody could measure it, because the pods were not on this machine.
    """

    faults_ended_at: float
    drained_at: float | None
    """When nothing waited and nothing was held any more; None if that did not come within `drain_within`."""
    drain_within: float
    left: dict[str, int]
    """Jobs that were still there at the end, by kind of home; without those that belong there (buried, retries that
    wait for a name that nobody knows)."""
    homes: dict[int, list[str]]
    """Token to its homes at the end, as `dead`, `retry`, `queue:default`."""
    changed: dict[int, str]
    """Tokens whose arguments are no longer the bytes that were sent, and how."""
    processed: int
    failed: int
    trimmed: int
    status: dict[str, Any]
    """What `reliq status --json` says."""
    strange_keys: list[str]
    """Keys that the key table does not describe, and what is wrong with each."""
    connections: tuple[int, int] | None
    """How many clients Redis had before the pods came and after they went."""
    processes: list[str] | None
    """What still ran after all pods had ended."""
    descriptors: dict[int, tuple[int, int]] | None
    """Open files of each process of the last healthy pod: when it had nothing to do yet, and at the end."""
    idle: tuple[float, float] | None
    """Commands per second that Redis gets from one idle pod: before the first job, after the last."""
    walk: int = 0
    """Identities that the reapers looked after at the end: each is looked at now and then, which is traffic."""


@attrs.frozen(kw_only=True)
class Settings:
    """How a run was set up: what the bounds follow from. Times are seconds."""

    scenario: str
    seed: int
    minutes: float
    jobs: int
    """How many are sent in `minutes`; a run that has to wait for a fault sends more."""
    pods: int
    processes: int
    concurrency: int
    beat: float
    ttl: float
    confirm: float
    crash_limit: int
    durability: Literal["always", "everysec", "none"]
    """Of Redis: its appendfsync, or no append-only file."""
    client_list: bool
    """Whether the pods may ask for CLIENT LIST; if not, only the TTL tells a death."""
    armed: tuple[str, ...]
    """Names of the faults that this run must see fire."""
    revision: str
    """Of the code under test."""
    stop: float | None = None
    """From SIGTERM until a supervisor may kill a process whose jobs do not unwind: its timeout and grace together.
    None: not known, and then such an end explains nothing."""
    old: str = ""
    """The revision of reliq that old pods ran; empty: the same as new ones."""
    driver: Literal["local", "kubectl"] = "local"
    """Where the pods were: on this machine, or on a cluster."""
