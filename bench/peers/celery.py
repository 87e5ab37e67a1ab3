"""Celery."""

from __future__ import annotations

import redis

from bench.peers.peer import Peer


class Celery(Peer):
    """Celery with its thread pool. Settled: kombu keeps what is delivered and not acknowledged in `unacked`."""

    name = "celery"
    mode = "thread pool, no results; its default: acknowledged before it runs"
    reliable = "thread pool, task_acks_late, task_reject_on_worker_lost"
    keys: tuple[str, ...] = ("celery",)
    pace = 500

    def worker(self, *, processes: int, threads: int, url: str) -> list[list[str]]:
        command = [self.installed.tool("celery"), "-A", "bench.apps.celery_app", "worker", "-P", "threads"]
        return [
            [*command, "-c", str(threads), "-l", "WARNING", "-n", f"bench{number}@%h"] for number in range(processes)
        ]

    def settled(self, server: redis.Redis, sent: int) -> bool:
        return server.llen("celery") == 0 and server.hlen("unacked") == 0
