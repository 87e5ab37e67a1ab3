"""Processes of this machine by their process group, read from /proc at one go."""

from __future__ import annotations

import os
import select
import signal
from collections import defaultdict
from pathlib import Path

import attrs


@attrs.frozen
class Process:
    """One living process: not a zombie."""

    pid: int
    parent: int
    group: int


def processes() -> list[Process]:
    """Return all that live."""
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - names are enough, and this is asked over and over
        if name.isdigit():
            process = read(int(name))
            if process is not None:
                found.append(process)
    return found


def read(pid: int) -> Process | None:
    """Return one process, None if it does not live."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, parent, group, *_ = text.rpartition(")")[2].split()
    return None if state in "ZX" else Process(pid, int(parent), int(group))


def by_group() -> dict[int, list[Process]]:
    """Return all that live, by process group."""
    found: dict[int, list[Process]] = defaultdict(list)
    for process in processes():
        found[process.group].append(process)
    return found


def send(pids: tuple[int, ...], number: int) -> tuple[int, ...]:
    """Send a signal to each; return those that it reached."""
    reached = []
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
        reached.append(pid)
    return tuple(reached)


def kill(pids: tuple[int, ...], *, group: int | None = None) -> tuple[int, ...]:
    """SIGKILL each, or a whole group at once; return when all are dead, with those that it reached."""
    watches = {pid: fd for pid in pids if (fd := _watch(pid)) is not None}
    try:
        if group is not None:
            try:
                os.killpg(group, signal.SIGKILL)
            except ProcessLookupError:
                return ()
            reached = tuple(watches)
        else:
            reached = send(tuple(watches), signal.SIGKILL)
        for fd in watches.values():
            _await_end(fd)
    finally:
        for fd in watches.values():
            os.close(fd)
    return reached


def _watch(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _await_end(fd: int) -> None:
    select.select([fd], [], [], 5.0)


def open_files(pid: int) -> int:
    """Return how many files a process has open; 0 if it is gone."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208
    except OSError:
        return 0
