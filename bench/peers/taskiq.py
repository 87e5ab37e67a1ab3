"""taskiq."""

from __future__ import annotations

import redis

from bench.peers.peer import PARKED, Peer

MOVE = """
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+')) do
  redis.call('XADD', KEYS[2], '*', unpack(entry[2]))
end
redis.call('DEL', KEYS[1])
"""
"""The consumer group belongs to the stream, so the entries move and not the stream."""


class Taskiq(Peer):
    """taskiq with the stream broker of taskiq-redis. Settled: its consumer group has nothing pending."""

    name = "taskiq"
    mode = "stream broker, default settings, no results: acknowledged when it has finished"
    keys: tuple[str, ...] = ("taskiq",)
    pace = 1300

    def worker(self, *, processes: int, threads: int, url: str) -> list[list[str]]:
        command = [self.installed.tool("taskiq"), "worker", "bench.apps.taskiq_app:broker", "-w", str(processes)]
        return [[*command, "--max-async-tasks", str(threads), "--log-level", "WARNING"]]

    def settled(self, server: redis.Redis, sent: int) -> bool:
        groups = server.xinfo_groups("taskiq")
        return all(group["pending"] == 0 for group in groups)

    def park(self, server: redis.Redis) -> None:
        super().park(server)
        for key in self.keys:
            server.xgroup_create(key, "taskiq", id="$", mkstream=True)

    def release(self, server: redis.Redis) -> None:
        for key in self.keys:
            server.eval(MOVE, 2, PARKED + key, key)
