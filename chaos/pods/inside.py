"""Runs inside a pod's container, as `python3 -c`: finds the worker's processes in /proc and signals them.

It stands alone: the standard library of the Python that runs reliq, and no tool that a slim image may lack. It prints
what it found before it kills, because a container that ends takes this process with it.

The kernel drops a SIGKILL or SIGSTOP that process 1 of a pid namespace is sent from within that namespace. A worker
that is process 1 of its container can therefore not be killed or frozen from here, and `kill -9 1` would report success
and do nothing. With `shareProcessNamespace: true` process 1 is the pod's pause container, and the worker a process like
any other.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

UNTOUCHABLE = (
    "the worker is process 1 of its pid namespace, and the kernel drops a SIGKILL or SIGSTOP from inside: "
    "set shareProcessNamespace: true in the pod template"
)
FORK_SERVER = "multiprocessing.forkserver"
DIES_WITHIN = 5.0
"""Seconds in which a killed process must be gone."""


class Process(NamedTuple):
    """One living process."""

    parent: int
    session: int
    command: list[str]


class Sight(NamedTuple):
    """The processes of one worker: its supervisor, everything of it, its worker processes."""

    main: int
    members: list[int]
    children: list[int]


def processes() -> dict[int, Process]:
    """Return all that live in this pid namespace, by process id."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            state, parent, _, session, *_ = (folder / "stat").read_bytes().rpartition(b")")[2].split()
            command = os.fsdecode((folder / "cmdline").read_bytes()).split("\0")
        except OSError:
            continue  # it ended while we looked
        if state not in (b"Z", b"X"):
            found[int(folder.name)] = Process(int(parent), int(session), command)
    return found


def look() -> Sight:
    """Return the worker's processes. Ends this program if there is none, or more than one."""
    everybody = processes()
    workers = {pid for pid, process in everybody.items() if _is_worker(process.command)}
    # An init such as tini carries the worker's command line, too: the innermost is meant.
    workers -= {everybody[pid].parent for pid in workers}
    if len(workers) != 1:
        sys.exit(f"{len(workers)} processes run `reliq worker` here, and it takes exactly one")
    (main,) = workers
    members = sorted(pid for pid in everybody if _belongs(pid, main, everybody))
    forked = {pid for pid in members if any(FORK_SERVER in word for word in everybody[pid].command)}
    servers = {pid for pid in forked if everybody[pid].parent == main}
    # A process that a job has forked looks the same: its parent is a worker process.
    children = [pid for pid in forked - servers if everybody[pid].parent in servers or _orphan(pid, forked, everybody)]
    return Sight(main, members, sorted(children))


def _is_worker(command: list[str]) -> bool:
    return any(Path(word).name == "reliq" and after == "worker" for word, after in pairwise(command))


def _belongs(pid: int, main: int, everybody: dict[int, Process]) -> bool:
    """Whether it descends from the supervisor, or from something of its session whose parent has died."""
    session = everybody[main].session
    while pid in everybody and pid not in (1, os.getpid()):
        if pid == main or (session and everybody[pid].session == session):
            return True
        pid = everybody[pid].parent
    return pid == main


def _orphan(pid: int, forked: set[int], everybody: dict[int, Process]) -> bool:
    return everybody[pid].parent not in forked


def say(sight: Sight, hit: list[int]) -> None:
    """Print what was found and what is about to be hit, for good."""
    sys.stdout.write(json.dumps({**sight._asdict(), "hit": hit}) + "\n")
    sys.stdout.flush()


def send(pids: list[int], number: int) -> None:
    """Send a signal to each."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def stop_all(sight: Sight) -> Sight:
    """Stop everything, and what was started meanwhile; return all of it."""
    stopped: set[int] = set()
    while new := [pid for pid in sight.members if pid not in stopped]:
        send(new, signal.SIGSTOP)
        stopped.update(new)
        sight = look()
    return sight


def await_end(pids: list[int]) -> None:
    """Wait until all are dead. Ends this program with a message if they do not die."""
    until = time.monotonic() + DIES_WITHIN
    while left := sorted(processes().keys() & set(pids)):
        if time.monotonic() > until:
            sys.exit(f"still alive {DIES_WITHIN:g} s after SIGKILL: {left}")
        time.sleep(0.005)


def main(verb: str, index: str = "0") -> None:
    """Do one thing: look, kill-all, kill-main, kill-child INDEX, freeze, thaw."""
    sight = look()
    if verb in ("kill-all", "kill-main", "freeze") and sight.main == 1:
        sys.exit(UNTOUCHABLE)
    if verb == "kill-all":
        sight = stop_all(sight)  # all at one moment: no supervisor sees its children die before it
        say(sight, sight.members)
        send(sight.members, signal.SIGKILL)
        await_end(sight.members)
    elif verb == "kill-main":
        say(sight, sight.members)  # the container ends with its main process, and everything in it
        send([sight.main], signal.SIGKILL)
        await_end([sight.main])
    elif verb == "kill-child":
        hit = [sight.children[int(index) % len(sight.children)]] if sight.children else []
        say(sight, hit)
        send(hit, signal.SIGKILL)
        await_end(hit)
    elif verb == "freeze":
        sight = stop_all(sight)
        say(sight, sight.members)
    elif verb == "thaw":
        send(sight.members, signal.SIGCONT)
        say(sight, sight.members)
    else:
        say(sight, [])


if __name__ == "__main__":
    main(*sys.argv[1:])
