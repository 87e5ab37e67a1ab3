"""A worker as a user of Redis who may do what the doctor asks for, and no more."""

from collections.abc import Iterator

import pytest
import redis

from chaos.eventually import eventually
from chaos.servers import Server
from tests.support.fleet import Fleet
from tests.support.rights import grant, rules


@pytest.fixture
def url(server: Server, redis_client: redis.Redis) -> Iterator[str]:
    """The shared server, as that user."""
    grant(redis_client, "worker", rules("worker"))
    yield f"unix://worker:x@{server.socket}"
    redis_client.acl_deluser("worker")


def test_a_worker_needs_no_more(url: str, fleet: Fleet, redis_client: redis.Redis) -> None:
    """Success, retry, burial, promotion, a crash, quarantine, quiet and leaving: no refusal on the whole way."""
    pod = fleet.start(url=url, processes=2)
    jids = [fleet.enqueue("quick", number) for number in range(10)]
    jids += [fleet.enqueue("fail_times", 1, "again"), fleet.enqueue("crash_times", 2, "killer")]
    fleet.enqueue("once", "buried", retry=0)
    eventually(lambda: redis_client.zcard("retry"), 15, "a failed job waits for its next attempt")
    fleet.make_due()
    fleet.done(jids, within=30)
    eventually(lambda: redis_client.zcard("dead"), 15, "a job without retries is buried")
    assert pod.stop_and_wait() == 0
    assert "Redis refused" not in pod.log
    assert "does not allow" not in pod.log
    with redis_client as client:
        denied = [entry for entry in client.acl_log() if entry["username"] == "worker"]
    assert not denied
