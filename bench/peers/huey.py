"""Huey."""

from __future__ import annotations

import redis

from bench.peers.peer import Peer


class Huey(Peer):
    """Huey. Settled: as soon as all jobs have run, because the server holds nothing of a job that was taken."""

    name = "huey"
    mode = "default settings, threads: out of Redis before it runs"
    keys: tuple[str, ...] = ("huey.redis.bench",)
    pace = 1300

    def worker(self, *, processes: int, threads: int, url: str) -> list[list[str]]:
        command = [self.installed.tool("huey_consumer"), "bench.apps.huey_app.huey", "-q", "-w", str(threads)]
        return [command] * processes

    def settled(self, server: redis.Redis, sent: int) -> bool:
        return server.llen("huey.redis.bench") == 0
