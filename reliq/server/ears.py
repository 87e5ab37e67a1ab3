"""Ears: everything that can wake a worker process's loop, waited for in one place."""

from __future__ import annotations

import contextlib
import os
import selectors
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any, Protocol

import attrs


class Bell(Protocol):
    """A socket on which a job may come in."""

    def fileno(self) -> int:
        """Return its file descriptor."""

    @property
    def generation(self) -> int:
        """Return a number that changes when the descriptor stands for another connection."""


@attrs.define
class Heard:
    """What one wait brought: words of the supervisor, bells to be read, and whether the supervisor is gone."""

    words: list[tuple[Any, ...]] = attrs.Factory(list)
    rung: list[Any] = attrs.Factory(list)
    orphaned: bool = False


class Ears:
    """A selector over the supervisor's pipe, a pipe that threads ring, and the armed doorbells."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._wake_r, self._wake_w = os.pipe()
        os.set_blocking(self._wake_r, False)
        os.set_blocking(self._wake_w, False)
        # Poll, not epoll: a process that a job forked may hold a closed socket open, and epoll would still report it.
        self._selector = selectors.PollSelector()
        self._selector.register(self._wake_r, selectors.EVENT_READ)
        self._selector.register(pipe, selectors.EVENT_READ)
        self._bells: dict[int, tuple[Bell, int]] = {}
        self._woken = False

    def wake(self) -> None:
        """End the wait, from any thread or signal handler."""
        if not self._woken:  # one byte is enough until somebody has read it
            self._woken = True
            with contextlib.suppress(BlockingIOError):
                os.write(self._wake_w, b"!")

    def listen(self, bells: Sequence[Bell], pause: float) -> Heard:
        """Wait for at most `pause` seconds for whatever comes first."""
        self._watch({bell.fileno(): (bell, bell.generation) for bell in bells})
        heard = Heard()
        for key, _ in self._selector.select(pause):
            if key.fd == self._wake_r:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_r, 65536)
                # Only now: what somebody did before a wake that finds the flag still up, the caller sees in this pass.
                self._woken = False
            elif key.fd in self._bells:
                heard.rung.append(self._bells[key.fd][0])
            else:
                self._read_pipe(heard)
        return heard

    def say(self, *message: Any) -> None:
        """Tell the supervisor; when it is gone, the end of the pipe says so to the next `listen`."""
        with contextlib.suppress(OSError):
            self._pipe.send(message)

    def close(self) -> None:
        """Let go of everything but the pipe."""
        self._selector.close()
        os.close(self._wake_r)
        os.close(self._wake_w)

    def _watch(self, bells: dict[int, tuple[Bell, int]]) -> None:
        # A connection that was made anew may have got the number of the one it replaces, for which the kernel has
        # forgotten that we wait: only the generation tells the two apart.
        for fd in [fd for fd, known in self._bells.items() if bells.get(fd) != known]:
            self._selector.unregister(fd)
            del self._bells[fd]
        for fd, known in bells.items():
            if fd not in self._bells:
                self._selector.register(fd, selectors.EVENT_READ)
                self._bells[fd] = known

    def _read_pipe(self, heard: Heard) -> None:
        try:
            heard.words.append(self._pipe.recv())
        except (EOFError, OSError):
            self._selector.unregister(self._pipe)
            heard.orphaned = True
