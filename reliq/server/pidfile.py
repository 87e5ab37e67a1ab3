"""PidFile: how `reliq quiet` and `reliq stop` find the worker of this pod, and see what it is doing.

The supervisor holds a lock on the file as long as it lives. The lock is the proof: a pid that was left behind by a
killed worker, and now belongs to another program, is never signalled.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from pathlib import Path

import attrs
import orjson

from reliq.errors import ConfigError


@attrs.frozen
class Status:
    """What a supervisor says of itself: `state` is running, quiet or stopping; `busy` counts jobs it holds."""

    pid: int
    state: str
    busy: int


def default_folder() -> Path:
    """Return where pid files lie unless one is named: one folder per user."""
    return Path(tempfile.gettempdir()) / f"reliq-{os.getuid()}"


class PidFile:
    """Written by one supervisor."""

    def __init__(self, path: Path | None) -> None:
        self.path = path or default_folder() / f"{os.getpid()}.pid"
        self._fd: int | None = None
        self._last: Status | None = None

    def take(self) -> None:
        """Create and lock the file. Raises ConfigError if another worker has it, or it cannot be written."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"--pidfile {self.path}: {error.strerror}") from None
        if not _lock(fd):
            os.close(fd)
            raise ConfigError(f"--pidfile {self.path}: another worker runs with it; give this one its own")
        self._fd = fd
        self.write(Status(os.getpid(), "running", 0))

    def write(self, status: Status) -> None:
        """Write the status, if it has changed."""
        if self._fd is not None and status != self._last:
            text = orjson.dumps(attrs.asdict(status)).ljust(100)
            os.pwrite(self._fd, text, 0)  # one write of one length: a reader sees the old or the new
            self._last = status

    def release(self) -> None:
        """Remove the file. The lock goes when this process has ended: that is what `reliq stop --wait` waits for."""
        if self._fd is not None:
            self.path.unlink(missing_ok=True)


def _lock(fd: int) -> bool:
    # Several tries: somebody may be just looking, which takes the lock for an instant.
    for _ in range(10):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.02)
    return False


class Watch:
    """Looks at one worker's file, also after that was removed."""

    def __init__(self, path: Path) -> None:
        self._fd: int | None = None
        with contextlib.suppress(OSError):  # nobody's
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def status(self) -> Status | None:
        """Return what the worker says of itself, None if it has ended."""
        if self._fd is None:
            return None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            try:
                return Status(**orjson.loads(os.pread(self._fd, 1000, 0)))
            except (orjson.JSONDecodeError, TypeError):
                return Status(0, "starting", 0)  # locked, and not written yet
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        return None

    def close(self) -> None:
        """Look no more."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def running(path: Path | None) -> list[tuple[Watch, Status]]:
    """Return the live workers: the one of this file, or all of the default folder. Close the watches."""
    found = []
    for candidate in [path] if path is not None else sorted(default_folder().glob("*.pid")):
        watch = Watch(candidate)
        status = watch.status()
        if status is None or not status.pid:
            watch.close()
        else:
            found.append((watch, status))
    return found
