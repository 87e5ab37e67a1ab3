"""Limits on memory through control groups, where the machine lets us make one."""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path

import attrs

MOUNT = Path("/sys/fs/cgroup")


@attrs.frozen
class MemoryLimit:
    """A control group with a memory limit. Made by `memory_limit`; close it when its processes are gone."""

    folder: Path
    events: str

    @property
    def procs(self) -> Path:
        """The file that a process joins by writing its id."""
        return self.folder / "cgroup.procs"

    def kills(self) -> int:
        """Return how many processes the kernel has killed here for want of memory."""
        with contextlib.suppress(OSError):
            for line in (self.folder / self.events).read_text(encoding="ascii").splitlines():
                name, _, value = line.partition(" ")
                if name == "oom_kill":
                    return int(value)
        return 0

    def close(self) -> None:
        """Remove the group."""
        with contextlib.suppress(OSError):
            self.folder.rmdir()


def memory_limit(size: int) -> MemoryLimit | None:
    """Return a new group limited to `size` bytes, None where the machine does not allow it."""
    for parent, limit, events in (
        (MOUNT / "memory", "memory.limit_in_bytes", "memory.oom_control"),
        (MOUNT, "memory.max", "memory.events"),
    ):
        folder = parent / f"chaos-{secrets.token_hex(4)}"
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            (folder / limit).write_text(str(size), encoding="ascii")
        except OSError:
            with contextlib.suppress(OSError):
                folder.rmdir()
            continue
        return MemoryLimit(folder, events)
    return None
