"""RQ."""

from __future__ import annotations

import redis

from bench.peers.peer import ALL, Peer


class Rq(Peer):
    """RQ, one fork per job. Settled: nothing waits, is being taken, or is registered as started.

    It has no threads; jobs at the same time are worker processes of its pool. A row that asks for ten threads in one
    process gets one process, one that asks for 50 jobs at the same time gets 50 processes.
    """

    name = "rq"
    mode = "default worker, a fork per job, one job at a time per process; for 50 jobs at a time 50 processes"
    reliable = "default worker, each job with Retry(max=3)"
    keys: tuple[str, ...] = ("rq:queue:default",)
    pace = 100
    rows = ALL

    def worker(self, *, processes: int, threads: int, url: str) -> list[list[str]]:
        count, _ = self.shape(processes, threads)
        common = ["-u", url, "-q", "default"]
        if count == 1:
            return [[self.installed.tool("rq"), "worker", *common]]
        return [[self.installed.tool("rq"), "worker-pool", "-n", str(count), *common]]

    def shape(self, processes: int, threads: int) -> tuple[int, int]:
        count = threads if threads > 10 else processes
        return count, count

    def settled(self, server: redis.Redis, sent: int) -> bool:
        waiting = server.llen("rq:queue:default") == server.llen("rq:queue:default:intermediate") == 0
        return waiting and server.zcard("rq:wip:default") == 0
