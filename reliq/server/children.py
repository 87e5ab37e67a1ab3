"""Children: starting worker processes, hearing of them, and noticing their end."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import selectors
import signal
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import Any

import attrs

from reliq.server import child as child_module
from reliq.server.board import Board, allocate
from reliq.server.memory import oom_kills
from reliq.server.role import Role
from reliq.store.processes import Entry

MESSAGES = 100


@attrs.define(eq=False)
class Child:
    """One worker process, as its supervisor sees it. Times are on the monotonic clock."""

    process: ForkServerProcess
    pipe: Connection
    board: Board
    role: Role
    death: int
    began: float
    epoch: int = 0
    entry: Entry | None = None
    told_to_stop: bool = False
    retired: bool = False
    quiet: bool = False
    left: bool = False
    left_at: float = 0.0
    stuck: bool = False
    failure: str | None = None
    unreachable: str | None = None
    counted: bool = False
    pid: int = attrs.field(init=False)
    """The process id, also when it has been buried."""

    ooms: int = attrs.field(factory=oom_kills)
    """How many processes of the pod had been killed for want of memory when this one was started."""

    @pid.default
    def _pid(self) -> int:
        return self.process.pid or 0

    @property
    def has_ended(self) -> bool:
        """Whether the kernel says so."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.death, selectors.EVENT_READ)
            return bool(selector.select(0))

    def tell(self, *message: Any) -> None:
        """Send a word; one that is dying does not get it."""
        with contextlib.suppress(OSError):
            self.pipe.send(message)

    def stop(self, timeout: float) -> None:
        """Tell it to finish within `timeout` seconds and leave."""
        self.told_to_stop = True
        self.tell("stop", timeout)

    def retire(self) -> None:
        """Tell it to leave once it has nothing to do.

        That is no stop: if a job that it has claimed just now kills it, the crash counts. It is said once, and not to
        one that has been told to stop.
        """
        if not (self.retired or self.told_to_stop):
            self.retired = True
            self.tell("stop", math.inf)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal; one that has ended meanwhile is left alone."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def hear(self) -> list[tuple[Any, ...]]:
        """Return what it has said since the last call, without waiting; no more at a time than a chatty one may say."""
        messages: list[tuple[Any, ...]] = []
        with contextlib.suppress(EOFError, OSError):
            while len(messages) < MESSAGES and self.pipe.poll():
                messages.append(self.pipe.recv())
        return messages

    def bury(self) -> str:
        """Collect the dead process; return how it died, for people."""
        self.process.join(1.0)
        code = self.process.exitcode
        self.pipe.close()
        if self.death != self.process.sentinel:
            os.close(self.death)
        if code is not None:
            self.process.close()
        if code is None or code == 255:
            return "died"
        if code < 0:
            name = signal.Signals(-code).name
            if -code == signal.SIGKILL and oom_kills() > self.ooms:
                return "was killed by the kernel (SIGKILL): the memory was used up"
            return f"was killed by {name}"
        return f"exited with code {code}"


@attrs.frozen
class Orphan:
    """What a dead child left: everything that recovery needs, until it has succeeded."""

    child: Child
    entry: Entry
    counter: str
    started: list[str]
    cause: str
    since: float = attrs.field(factory=time.monotonic)


class Nursery:
    """Starts children through the standard library's fork server.

    That is a process of its own, without threads and connections, which has imported reliq: a child is there in
    milliseconds and shares its memory, and nothing of the supervisor's can be caught in mid-air by a fork.
    """

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([child_module.__name__])

    def start(self, role: Role) -> Child:
        """Start one worker process. Raises OSError or EOFError when the system refuses or the fork server dies."""
        ours, theirs = self._context.Pipe()
        memory = allocate(self._context, role.concurrency)
        process = self._context.Process(target=child_module.main, args=(theirs, memory, role), name="reliq-worker")
        # The fork server starts with the first child. A terminal's ^Z, which means "quiet" here, must not stop it.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})
        try:
            with _no_main():
                process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
        return Child(process, ours, Board(memory), role, _death_of(process), time.monotonic())


def _death_of(process: ForkServerProcess) -> int:
    """Return a file descriptor that becomes readable when the process has ended.

    The kernel's own word where it can be had (pidfd): the fork server's goes missing when that is killed.
    """
    if hasattr(os, "pidfd_open") and process.pid is not None:
        with contextlib.suppress(OSError):
            return os.pidfd_open(process.pid)
    return process.sentinel


@contextlib.contextmanager
def _no_main() -> Iterator[None]:
    """Hide the main module: a child would import it again, and with it the whole command line."""
    main = sys.modules["__main__"]
    kept: dict[str, Any] = {name: main.__dict__.pop(name) for name in ("__file__", "__spec__") if name in main.__dict__}
    main.__dict__["__spec__"] = None
    try:
        yield
    finally:
        main.__dict__.update(kept)
