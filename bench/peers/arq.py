"""arq."""

from __future__ import annotations

import redis

from bench.peers.peer import Peer


class Arq(Peer):
    """arq. Settled: a job leaves the sorted set of its queue when it has finished."""

    name = "arq"
    mode = "default settings: removed from its queue when it has finished, result kept for an hour"
    keys: tuple[str, ...] = ("arq:queue",)
    pace = 300
    poll = 0.5

    def worker(self, *, processes: int, threads: int, url: str) -> list[list[str]]:
        app = "bench.apps.arq_app"
        command = [self.installed.tool("arq"), f"{app}.WorkerSettings", "--custom-log-dict", f"{app}.LOGGING"]
        return [command] * processes

    def settled(self, server: redis.Redis, sent: int) -> bool:
        return server.zcard("arq:queue") == 0
