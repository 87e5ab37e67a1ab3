"""A pod: `python -m reliq worker` as it is in production, in processes of its own, to be killed and frozen.

One supervisor with all that it starts, in a process group of its own, as one container would be.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self

import psutil

from chaos.eventually import eventually
from tests.support.leaks import alive

if TYPE_CHECKING:
    from tests.support.fleet import Fleet

STARTUP = 15.0
"""Seconds that it has to come up: a busy machine imports slowly."""


class Pod:
    """One supervisor and its processes. Made by `Fleet.start`."""

    def __init__(self, fleet: Fleet, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.fleet = fleet
        self.name = name
        self.pidfile = fleet.directory / f"{name}.pid"
        self.log_file = fleet.directory / f"{name}.log"
        self._helpers: set[int] = set()  # fork server and resource tracker, remembered: their parent may be dead
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=fleet.directory,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    # -- looking

    @property
    def pid(self) -> int:
        """Of the supervisor, and of the process group."""
        return self.process.pid

    @property
    def log(self) -> str:
        """What all its processes have logged."""
        return self.log_file.read_text(errors="replace")

    def logged(self, text: str) -> bool:
        """Whether the log holds this text."""
        return text in self.log

    def members(self) -> list[int]:
        """Process ids of everything of this pod that lives: supervisor, fork server, workers, whatever they started."""
        # psutil's walk of the process tree costs ten times as much, and this is asked over and over.
        everybody = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - names are enough
        return [pid for pid in everybody if self._is_mine(pid)]

    def _is_mine(self, pid: int) -> bool:
        try:
            return os.getpgid(pid) == self.pid and alive(pid)
        except ProcessLookupError:
            return False

    def workers(self) -> list[int]:
        """Process ids of its worker processes, also of those that have not registered yet."""
        found = []
        for pid in self.members():
            try:
                process = psutil.Process(pid)
                if process.ppid() == self.pid and pid != self.pid:
                    self._helpers.add(pid)
                elif pid != self.pid and pid not in self._helpers:
                    found.append(pid)
            except psutil.NoSuchProcess:
                continue
        return sorted(found)

    def helpers(self) -> list[int]:
        """Process ids of its fork server and that one's resource tracker."""
        self.workers()
        return [pid for pid in self.members() if pid in self._helpers]

    def identities(self) -> list[str]:
        """Identities of its living workers that are registered and beating."""
        return [
            identity
            for identity, entry in self.fleet.entries().items()
            if self._is_mine(entry["pid"]) and self.fleet.heartbeat(identity) not in (None, b"fenced")
        ]

    def running(self) -> bool:
        """Whether the supervisor lives."""
        return self.process.poll() is None

    # -- doing

    def ready(self, workers: int | None = None) -> Self:
        """Wait until so many workers (all of `--processes` at the start) are registered."""
        wanted = workers if workers is not None else self.fleet.wanted[self.name]

        def registered() -> bool:
            if not self.running():
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}:\n{self.log}")
            return len(self.identities()) >= wanted

        eventually(registered, STARTUP, f"{self.name} has {wanted} workers")
        return self

    def signal(self, number: int) -> None:
        """Send a signal to the supervisor alone."""
        self.process.send_signal(number)

    def quiet(self) -> None:
        """TSTP."""
        self.signal(signal.SIGTSTP)

    def stop(self) -> None:
        """TERM; does not wait."""
        self.signal(signal.SIGTERM)

    def wait(self, within: float = 10.0) -> int:
        """Wait for the supervisor's end; its exit code."""
        eventually(lambda: self.process.poll() is not None, within, f"{self.name} ends")
        return int(self.process.returncode)

    def stop_and_wait(self, within: float = 10.0) -> int:
        """TERM, and wait; the exit code."""
        self.stop()
        return self.wait(within)

    def kill_worker(self, pid: int | None = None) -> int:
        """SIGKILL one worker process (by default the first); its process id."""
        pid = self.workers()[0] if pid is None else pid
        os.kill(pid, signal.SIGKILL)
        return pid

    def kill_supervisor(self) -> None:
        """SIGKILL the supervisor alone, and wait for its end."""
        self.workers()  # remembers who the helpers are while their parent lives
        self.process.kill()
        self.process.wait()

    def kill(self) -> None:
        """SIGKILL everything at once, as when a node's memory ends; returns when all are dead."""
        self._signal_all(signal.SIGKILL)
        self.process.wait()
        eventually(lambda: not self._remaining(), 10, f"all of {self.name} is dead")

    def freeze(self) -> None:
        """SIGSTOP to everything."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT to everything."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: int) -> None:
        # The group's number is not given away while one of its processes exists, the unwaited supervisor included.
        if self.process.returncode is None or self.members():
            os.killpg(self.pid, number)

    def _remaining(self) -> list[int]:
        while self.process.returncode is not None:
            try:
                if os.waitpid(-self.pid, os.WNOHANG) == (0, 0):  # orphans of the group become ours
                    break
            except ChildProcessError:
                break
        return self.members()
