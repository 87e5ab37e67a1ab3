"""Pods: real `reliq worker` programs, each in a session of its own, and their ends. Linux."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import click

from reliq.cli.demo.ledger import Kill
from reliq.cli.program import last_words, start_worker
from reliq.store import embedded

PROCESSES = 2
THREADS = 4

DYING = 10.0
"""Seconds in which a killed process must be gone, and the server after its last user."""


class Pod:
    """One supervised worker and its processes: a session and process group of their own."""

    def __init__(self, number: int, folder: Path, url: str, *, superfetch: bool) -> None:
        self.number = number
        self.killed = False
        self._log = folder / f"pod-{number}.log"
        options = ["-A", "reliq.cli.demo.jobs:app", "--url", url, "--processes", str(PROCESSES), "-c", str(THREADS)]
        options.append("--superfetch" if superfetch else "--no-superfetch")
        self._process = start_worker(self._log, *options)
        self.pid = self._process.pid

    def check(self) -> None:
        """Raise ClickException if the worker has ended by itself."""
        if not self.killed and self._process.poll() is not None:
            raise click.ClickException(f"pod {self.number} ended by itself: {last_words(self._log)}")

    def kill_process(self, pid: int) -> Kill | None:
        """SIGKILL one process of the pod; None if it is not there any more."""
        try:
            process = os.pidfd_open(pid)
        except ProcessLookupError:
            return None
        try:
            if os.getpgid(pid) != self.pid:
                return None
            at = time.monotonic()
            signal.pidfd_send_signal(process, signal.SIGKILL)
            select.select([process], [], [], DYING)
            return Kill(at, time.monotonic(), f"worker process {pid} of pod {self.number}", self.pid, pid)
        except ProcessLookupError:
            return None
        finally:
            os.close(process)

    def kill(self) -> Kill:
        """SIGKILL the supervisor and all its descendants at once."""
        self.killed = True
        what = f"pod {self.number} ({len(self.members())} processes)"
        at = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(DYING)
        _wait(lambda: not self.members(), DYING)
        return Kill(at, time.monotonic(), what, self.pid, None)

    def ask_to_stop(self) -> None:
        """SIGTERM, to the supervisor."""
        if self._process.poll() is None:
            self._process.terminate()

    def end(self, within: float) -> bool:
        """Wait for the orderly end, at most so long, then kill what is left. False if even that did not help."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(within)
        if self.members():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(DYING)
        return _wait(lambda: not self.members(), DYING)

    def members(self) -> list[int]:
        """Return the living processes of the pod's process group."""
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _group(pid) == self.pid]  # noqa: PTH208


def _group(pid: int) -> int | None:
    """Return the process group of a living process. One that ended and was not waited for yet has none."""
    try:
        state, _, group = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[:3]
    except OSError:
        return None
    return None if state in "ZX" else int(group)


def end_server(folder: Path) -> bool:
    """Stop the embedded server of a folder that nobody uses any more, by its keeper; False if it still runs."""
    keeper = folder / embedded.KEEPER
    if not keeper.exists():
        return True
    if not _free(keeper):
        with contextlib.suppress(ValueError, OSError):
            os.kill(int(keeper.read_text()), signal.SIGTERM)
    return _wait(lambda: _free(keeper) and _free(folder / embedded.SERVER), DYING)


def _free(path: Path) -> bool:
    """Whether nobody holds the lock on a file."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False
    return True


def _wait(condition: Callable[[], bool], within: float) -> bool:
    until = time.monotonic() + within
    while not condition():
        if time.monotonic() >= until:
            return False
        time.sleep(0.005)
    return True
