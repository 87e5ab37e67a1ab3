"""Stores and links to the shared server, closed after the test."""

from collections.abc import Iterator
from typing import Any, Protocol

import pytest

from chaos.servers import Server
from reliq.config import Config
from reliq.store.connection import Link
from reliq.store.opening import Store

QUICK: dict[str, Any] = {
    "beat": 0.2,
    "ttl": 1.0,
    "connect_timeout": 0.2,
    "command_timeout": 1.0,
    "longest_backoff": 0.1,
    "resend_for": 5.0,
}
"""Times that a test can wait for."""


class OpenStore(Protocol):
    """Opens a store with QUICK settings, at the shared server unless a URL is given; further settings by name."""

    def __call__(self, url: str | None = None, **settings: Any) -> Store: ...


@pytest.fixture
def open_store(server: Server) -> Iterator[OpenStore]:
    """Stores that are closed after the test."""
    made: list[Store] = []

    def make(url: str | None = None, **settings: Any) -> Store:
        made.append(Store(Config(url=url or server.url, **(QUICK | settings))))
        return made[-1]

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(open_store: OpenStore) -> Store:
    """The shared server."""
    return open_store()


@pytest.fixture
def link(store: Store) -> Iterator[Link]:
    """A connection to the shared server."""
    made = store.link("test")
    yield made
    made.close()
