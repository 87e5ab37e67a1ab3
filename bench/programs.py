"""Programs that are measured: started, watched, and ended with all their descendants. Linux."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from bench.failed import Failed
from reliq.cli.program import last_words

# The kernel kills the program when the benchmark dies (PR_SET_PDEATHSIG is 1). It keeps to its processors from its
# first instruction on, so all threads and children of it do.
LAUNCHER = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
cpus = sys.argv[1]
if cpus:
    os.sched_setaffinity(0, {int(cpu) for cpu in cpus.split(",")})
os.execvp(sys.argv[2], sys.argv[2:])
"""
ROOT = Path(__file__).resolve().parents[1]
STOPPING = 10.0
"""Seconds from SIGTERM to SIGKILL."""


class Programs:
    """One or several programs that are one worker. Ended at the end of the `with` block, by SIGKILL if need be."""

    def __init__(
        self, commands: Sequence[Sequence[str]], folder: Path, environment: dict[str, str], cpus: frozenset[int] | None
    ) -> None:
        self._log = folder / "log"
        self._started: list[subprocess.Popen[bytes]] = []
        with self._log.open("ab") as log:
            for command in commands:
                self._started.append(
                    subprocess.Popen(
                        launched(command, cpus),
                        cwd=folder,
                        env=environment,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                )

    def check(self) -> None:
        """Raise Failed if one of them has ended by itself."""
        for program in self._started:
            if program.poll() is not None:
                raise Failed(f"its worker ended with {program.returncode}: {self.last_words()}")

    def last_words(self) -> str:
        """Return the last line of the log."""
        return last_words(self._log)

    def tree(self) -> list[psutil.Process]:
        """Return all living processes, parents before their children."""
        found: list[psutil.Process] = []
        for program in self._started:
            if program.poll() is None:
                with contextlib.suppress(psutil.NoSuchProcess):
                    parent = psutil.Process(program.pid)
                    found += [parent, *parent.children(recursive=True)]
        return found

    def cpu(self) -> float:
        """Return the seconds of processor time used so far, by children that have ended too."""
        total = 0.0
        for process in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += sum(process.cpu_times()[:4])
        return total

    def pss(self) -> int:
        """Return the bytes of memory of all processes; what several share is counted once."""
        total = 0
        for process in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().pss
        return total

    def kill(self) -> None:
        """SIGKILL to all processes at once, parents first, and wait."""
        self._end(self.tree())

    def stop(self) -> None:
        """SIGTERM to the programs, as an administrator does; what is left after a while is killed."""
        tree = self.tree()
        until = time.monotonic() + STOPPING
        for program in self._started:
            program.terminate()
        for program in self._started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                program.wait(max(0.0, until - time.monotonic()))
        self._end([*tree, *self.tree()])

    def _end(self, tree: list[psutil.Process]) -> None:
        for process in tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for program in self._started:
            program.wait(STOPPING)
        psutil.wait_procs(tree, STOPPING)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.stop()
        else:
            self.kill()


def launched(command: Sequence[str], cpus: frozenset[int] | None) -> list[str]:
    """Return the command that runs a command on some processors (None: on all), and no longer than this process."""
    return [sys.executable, "-ISc", LAUNCHER, ",".join(map(str, sorted(cpus or ()))), *command]


def environment(**more: str) -> dict[str, str]:
    """Return an environment without the user's settings of reliq, and with the checkout on Python's path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RELIQ_", "BENCH_"))}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **more}
