"""Fixtures of all tests: servers, clients, and the leak check around each test."""

import os
from collections.abc import Iterator
from typing import Protocol

import pytest
import redis

from chaos.proxy import Proxy
from chaos.servers import Server
from tests.support.leaks import LeakCheck, adopt_orphans, check_keys

KEPT = ("RELIQ_TEST_SERVER", "RELIQ_INTERLEAVINGS")
"""What tests themselves are told by the environment."""


class FreshServer(Protocol):
    """Makes servers that belong to one test; the arguments are those of Server."""

    def __call__(
        self, *, durable: bool = False, tcp: bool = False, settings: dict[str, str] | None = None
    ) -> Server: ...


def pytest_configure() -> None:
    # No test may reach the queue of whoever runs it.
    for name in [name for name in os.environ if name.startswith("RELIQ_") and name not in KEPT]:
        del os.environ[name]
    adopt_orphans()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The server that the tests of this worker process share, empty before each test."""
    with Server(tcp=True) as shared:
        yield shared


@pytest.fixture(autouse=True)
def leak_check(server: Server) -> Iterator[None]:
    """An empty server before each test; no thread, process, connection or unknown key after it."""
    assert server.running and not server.paused, "an earlier test ended or paused the shared server: use fresh_server"  # noqa: PT018
    with server.client() as client:
        client.flushall()
    check = LeakCheck(server)
    yield
    check.finish(server)
    check_keys(server)


@pytest.fixture
def redis_client(server: Server) -> Iterator[redis.Redis]:
    """A plain client of the shared server: bytes in, bytes out, no resends."""
    with server.client() as client:
        yield client


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    """A proxy before the shared server."""
    with Proxy(server.socket) as between:
        yield between


@pytest.fixture
def fresh_server() -> Iterator[FreshServer]:
    """Servers of one's own, to kill, pause and configure."""
    made: list[Server] = []

    def make(*, durable: bool = False, tcp: bool = False, settings: dict[str, str] | None = None) -> Server:
        made.append(Server(durable=durable, tcp=tcp, settings=settings))
        return made[-1]

    yield make
    try:
        for one in made:
            check_keys(one)
    finally:
        for one in made:
            one.close()
