"""Dramatiq."""

from __future__ import annotations

import redis

from bench.peers.peer import Peer


class Dramatiq(Peer):
    """Dramatiq. Settled: an acknowledgement deletes the message from the hash of all messages of the queue."""

    name = "dramatiq"
    mode = "default settings: acknowledged when it has finished"
    keys: tuple[str, ...] = ("dramatiq:default",)
    pace = 1500
    poll = 1.0

    def worker(self, *, processes: int, threads: int, url: str) -> list[list[str]]:
        command = [self.installed.tool("dramatiq"), "bench.apps.dramatiq_app", "-p", str(processes), "-t", str(threads)]
        return [[*command, "--skip-logging"]]

    def settled(self, server: redis.Redis, sent: int) -> bool:
        return server.hlen("dramatiq:default.msgs") == 0
