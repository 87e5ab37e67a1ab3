"""Health: whether the processes of a pod consume, for probes. Read from shared memory and the kernel; asks nobody.

A process consumes if turns happen: Redis has answered a claim, with jobs or with the word that there are none. One
whose slots are all taken, or that was told to take no more, need not. What a probe says must not depend on anything
that may itself be stuck: no lock, no connection, no word from the process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from reliq.server.children import Child

PATIENCE_AT_START = 10
"""So many times longer than a turn may take processes to start: an application may import for minutes."""


@attrs.frozen
class State:
    """One process. `state` is a word of `WORDS`; `proof` the seconds since a turn, or None before the first."""

    pid: int
    identity: str | None
    state: str
    proof: float | None
    busy: int
    held: int
    quarantine: bool


WORDS = {
    "starting": "imports the application, or connects for the first time",
    "consuming": "its turns happen",
    "busy": "all its slots are taken",
    "quiet": "was told to claim no more",
    "stuck": "has free slots, and no turn happens",
    "stopped": "was stopped by a signal",
    "unreachable": "cannot reach Redis to begin",
}
"""What a process may be, for people."""

FAILING = frozenset({"stuck", "stopped", "unreachable"})


@attrs.frozen
class Report:
    """What the probes say. `reason` is one line; `state` is `running`, `quiet` or `stopping`."""

    live: bool
    ready: bool
    state: str
    reason: str
    processes: list[State]


class Health:
    """Looks at the children of a supervisor. `within` is how old the last proof may be, in seconds.

    `children` and `state` are asked at each look, from the threads of the HTTP server.
    """

    def __init__(self, within: float, children: Callable[[], Sequence[Child]], state: Callable[[], str]) -> None:
        self._within = within
        self._children = children
        self._state = state
        self._up_at = time.monotonic()

    def look(self) -> Report:
        """Say how things are now."""
        now, state = time.monotonic(), self._state()
        processes = [self._one(child, now) for child in self._children()]
        if any(process.identity for process in processes) or state == "stopping":
            self._up_at = now
        failing = [process for process in processes if process.state in FAILING]
        fit = [one for one in processes if one.state in ("consuming", "busy") and not one.quarantine]
        idle = now - self._up_at
        if failing:
            reason = "; ".join(f"process {one.pid} {one.state}: {self._said(one)}" for one in failing)
        elif idle > PATIENCE_AT_START * self._within:
            reason = f"no process has come up for {idle:.0f} s"
        else:
            reason = ""
        live = not reason
        ready = live and state == "running" and bool(fit)
        if not reason and not ready:
            reason = f"the worker is {state}" if state != "running" else "no process has come up yet"
        return Report(live, ready, state, reason or "turns happen", processes)

    def _said(self, process: State) -> str:
        since = "" if process.proof is None else f", the last one was {process.proof:.1f} s ago"
        return f"{WORDS[process.state]}{since}"

    def _one(self, child: Child, now: float) -> State:
        board, entry = child.board, child.entry
        proof = board.proof
        age = max(0.0, now - proof) if proof else None
        if entry is None:
            late = child.unreachable is not None and now - child.began > self._within
            word = "unreachable" if late else "starting"
        elif age is None or age <= self._within:
            word = "quiet" if child.quiet or child.told_to_stop else "busy" if board.excused else "consuming"
        elif _is_stopped(child.pid):
            word = "stopped"
        elif board.excused:
            # Its loop does not pass: a job holds the interpreter. That is no reason to kill it.
            word = "quiet" if child.quiet or child.told_to_stop else "busy"
        else:
            word = "stuck"
        identity = None if entry is None else entry.identity
        return State(child.pid, identity, word, age, board.busy, board.held, child.role.quarantine)


def _is_stopped(pid: int) -> bool:
    # Linux only; elsewhere nobody is.
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] in ("T", "t")
