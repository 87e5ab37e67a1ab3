"""The stage on which the scripts' state tables are played."""

from collections.abc import Iterator

import pytest
import redis

from chaos.servers import Server
from reliq.config import Config
from reliq.store.opening import Store

pytest.register_assert_rewrite("tests.lua.state")

from tests.lua.state import Stage  # noqa: E402 - its assertions are rewritten only from here on


@pytest.fixture
def stage(server: Server, redis_client: redis.Redis) -> Iterator[Stage]:
    """The shared server, and the scripts over a link to it."""
    store = Store(Config(url=server.url))
    link = store.link("stage")
    yield Stage(redis_client, store.scripts(link))
    link.close()
    store.close()
