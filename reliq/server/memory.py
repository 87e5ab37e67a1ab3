"""Memory: whether the kernel has killed a process of this pod because its memory was used up."""

from __future__ import annotations

from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")


def oom_kills(mount: Path = MOUNT, groups: Path = Path("/proc/self/cgroup")) -> int:
    """Return how many processes of this control group the kernel has killed for want of memory; 0 if nobody can see.

    The group is this process's own, in which its children are: a container, or a systemd unit. `mount` and `groups`
    are where the kernel shows them.
    """
    try:
        for line in groups.read_text(encoding="ascii").splitlines():
            number, controllers, path = line.split(":", 2)
            if number == "0":
                return _count(mount / path.lstrip("/") / "memory.events") or 0
            if "memory" in controllers.split(","):
                return _count(mount / "memory" / path.lstrip("/") / "memory.oom_control") or 0
    except (OSError, ValueError):
        pass
    return 0


def _count(file: Path) -> int | None:
    for line in file.read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill":
            return int(value)
    return None
