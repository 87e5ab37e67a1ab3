"""The bare LPUSH."""

from __future__ import annotations

from pathlib import Path

import redis

from bench import environments
from bench.environments import Installed
from bench.peers.peer import Peer


class Lpush(Peer):
    """redis-py's LPUSH, which is all that an enqueue cannot do without."""

    name = "lpush"
    mode = "no queue: redis-py's LPUSH of a payload of reliq; bulk: a thousand per command"
    keys: tuple[str, ...] = ()
    pace = 10_000
    rows = frozenset({"enqueue", "bulk"})

    def _install(self, folder: Path, *, install: bool) -> Installed:
        return environments.here()

    @property
    def title(self) -> str:
        return "bare LPUSH"

    def worker(self, *, processes: int, threads: int, url: str) -> list[list[str]]:
        return []

    def settled(self, server: redis.Redis, sent: int) -> bool:
        return True
