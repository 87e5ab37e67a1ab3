"""What the tests of numbers share: a fleet that is written down instead of run, and the pages of an exporter."""

import http.client
import time
from collections.abc import Iterator
from typing import Any, cast

import attrs
import pytest
import redis

from reliq.job import encode, new_jid
from reliq.store.opening import Store
from reliq.store.processes import Entry
from reliq.survey import Survey, Surveyor
from tests.store.conftest import open_store, store

__all__ = ["open_store", "store"]

ID = "web-1:7:0123456789ab"
OTHER_ID = "web-2:8:ba9876543210"


@attrs.frozen
class Stage:
    """Writes into Redis what processes and producers would have written."""

    client: redis.Redis

    def process(
        self,
        identity: str = ID,
        queues: tuple[str, ...] = ("mail",),
        *,
        alive: bool = True,
        shown: dict[str, str] | None = None,
        concurrency: int = 4,
        **fields: Any,
    ) -> None:
        """A process in the fleet."""
        host, pid, _ = identity.split(":")
        entry = Entry(
            identity=identity, host=host, pid=int(pid), queues=queues, started=1.0, concurrency=concurrency, **fields
        )
        self.client.hset("fleet", identity, entry.to_json().decode())
        if alive:
            self.client.set(f"heartbeat:{identity}", "5", px=60_000)
        if shown:
            self.client.hset(identity, mapping=cast("dict[Any, Any]", shown))
            self.client.expire(identity, 60)

    def jobs(self, key: str, count: int, *, age: float = 0.0) -> None:
        """So many jobs at the end of a list."""
        for _ in range(count):
            payload = encode("A", [], {}, jid=new_jid(), queue="mail", retry=True, now=time.time() - age)
            self.client.lpush(key, payload)

    def waiting(self, queue: str, count: int, *, age: float = 0.0) -> None:
        """So many jobs in a public queue."""
        self.client.sadd("queues", queue)
        self.jobs(f"queue:{queue}", count, age=age)


@pytest.fixture
def stage(redis_client: redis.Redis) -> Stage:
    """The shared server."""
    return Stage(redis_client)


@pytest.fixture
def surveyor(store: Store) -> Iterator[Surveyor]:
    """Of the shared server."""
    made = Surveyor(store)
    yield made
    made.close()


def queue_of(survey: Survey, name: str) -> dict[str, object]:
    """One queue of a survey, without its name."""
    [found] = [queue for queue in survey.queues if queue.name == name]
    return {name: value for name, value in attrs.asdict(found, recurse=False).items() if name != "name"}


def ask(port: int, path: str) -> tuple[int, str]:
    """Status and body of a page."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()
