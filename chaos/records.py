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
    """One fault. `ended_at` None: a fault of one moment (a kill), else when it was taken back.

    `pids` are the processes that it ended or held up; empty for one that hits Redis or every connection.
    `in_flight` counts the runs that were open when it struck. `observed`: nobody armed it, it was seen (the machine
    stood still, a killer job killed its process).
    """

    number: int
    name: str
    target: str
    at: float
    ended_at: float | None = None
    pids: tuple[int, ...] = ()
    in_flight: int = 0
    observed: bool = False
    detail: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class PodEvent:
    """A moment in a pod's life: `start`, `ready`, `prestop`, `term`, `end` (with its exit code), `members` (with pids)."""

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
