"""SAQ."""

from __future__ import annotations

import redis

from bench.peers.peer import Peer


class Saq(Peer):
    """SAQ. Settled: a job leaves the set of incomplete jobs and the list of active ones when it has finished."""

    name = "saq"
    mode = "default settings but no time-out of jobs: removed when it has finished, result kept for ten minutes"
    reliable = "each job with retries=3 and heartbeat=10"
    keys: tuple[str, ...] = ("saq:default:queued",)
    pace = 1200

    def worker(self, *, processes: int, threads: int, url: str) -> list[list[str]]:
        return [[self.installed.tool("saq"), "bench.apps.saq_app.settings", "--workers", str(processes)]]

    def settled(self, server: redis.Redis, sent: int) -> bool:
        return server.zcard("saq:default:incomplete") == server.llen("saq:default:active") == 0
