"""reliq."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import redis

from bench import environments
from bench.environments import Installed
from bench.peers.peer import ALL, Peer
from reliq import __version__


class Reliq(Peer):
    """reliq, as it comes. Settled: it counts an attempt in the step in which it removes the claim."""

    name = "reliq"
    mode = "super_fetch, default settings: removed from Redis when it has finished"
    keys: tuple[str, ...] = ("queue:default",)
    pace = 25_000
    rows = ALL

    def _install(self, folder: Path, *, install: bool) -> Installed:
        return environments.here()

    @property
    def title(self) -> str:
        return f"reliq {__version__}"

    def worker(self, *, processes: int, threads: int, url: str) -> list[list[str]]:
        command = [str(self.installed.program), "-m", "reliq", "worker", "-A", "bench.apps.reliq_app:app"]
        command += ["-c", str(threads), "--processes", str(processes), "--url", url, "--log-level", "WARNING"]
        return [command]

    def settled(self, server: redis.Redis, sent: int) -> bool:
        return int(cast(bytes | None, server.get("stat:processed")) or 0) == sent
