"""A server to measure on, and a peer of a few lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from bench import environments
from bench.environments import Installed
from bench.peers.peer import Peer
from bench.server import Place
from tests.bench.names import HELD, WAITING
from tests.conftest import FreshServer


class Fake(Peer):
    """The benchmark's side of fake_app."""

    name = "fake"
    mode = "on purpose"
    keys: tuple[str, ...] = (WAITING,)
    pace = 100_000

    def __init__(self, kind: str) -> None:
        super().__init__(Path())
        self.kind = kind

    def _install(self, folder: Path, *, install: bool) -> Installed:  # noqa: ARG002
        return environments.here()

    def worker(self, *, processes: int, threads: int, url: str) -> list[list[str]]:  # noqa: ARG002
        return [[str(self.installed.program), "-m", "tests.bench.fake_app", self.kind]] * processes

    def producer(self) -> list[str]:
        return [str(self.installed.program), "-m", "bench.apps.producer", "tests.bench.fake_app"]

    def shape(self, processes: int, threads: int) -> tuple[int, int]:  # noqa: ARG002
        return processes, processes

    def settled(self, server: redis.Redis, sent: int) -> bool:  # noqa: ARG002
        return server.llen(HELD) == 0


@pytest.fixture
def place(fresh_server: FreshServer) -> Iterator[Place]:
    """A server of the test's own, as the benchmark sees it."""
    made = fresh_server(tcp=True)
    client: Any = redis.Redis.from_url(made.tcp_url)
    with client:
        yield Place(url=made.tcp_url, client=client, title="a test's server", durability="none", cpus=None)
