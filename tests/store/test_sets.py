"""reliq.store.sets: due jobs go to their queues, and one process at a time moves them."""

import json
from typing import cast

import pytest
import redis

from chaos.eventually import eventually
from reliq.store.connection import Link
from reliq.store.opening import Store
from reliq.store.sets import PROMOTE_ITEMS, Sets

NOW = 1700000000.5


@pytest.fixture
def sets(store: Store, link: Link) -> Sets:
    """The verbs under test."""
    return Sets(store, link)


def queued(client: redis.Redis, name: str) -> list[bytes | str]:
    """A queue in the order of claiming."""
    return client.lrange(f"queue:{name}", 0, -1)[::-1]


def test_due_jobs_go_to_their_queues_in_the_order_of_their_times(sets: Sets, redis_client: redis.Redis) -> None:
    for at, name, queue in [(2.0, "b", "mail"), (1.0, "a", "mail"), (NOW, "c", "low"), (NOW + 0.01, "d", "mail")]:
        redis_client.zadd("schedule", {f'{{"class":"{name}","queue":"{queue}"}}': at})
    redis_client.zadd("retry", {'{"class":"r","queue":"mail"}': 3.0})
    assert sets.promote(NOW) == 4
    assert [json.loads(text)["class"] for text in queued(redis_client, "mail")] == ["a", "b", "r"]
    assert [json.loads(text)["class"] for text in queued(redis_client, "low")] == ["c"]
    assert redis_client.smembers("queues") == {b"mail", b"low"}
    assert redis_client.zcard("schedule") == 1
    assert sets.promote(NOW) == 0


def test_only_enqueued_at_is_written(sets: Sets, redis_client: redis.Redis) -> None:
    text = '{"args":[1.0E+2,%s,"\\u00e9\\/"],"class":"A","queue":"mail","enqueued_at":5,"x":-0.0}' % ("7" * 300)
    redis_client.zadd("retry", {text: 1.0})
    sets.promote(NOW)
    assert queued(redis_client, "mail") == [text.replace('"enqueued_at":5', '"enqueued_at":1700000000.5').encode()]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"class":"A"}', "the payload names no queue"),
        ('{"class":"A","queue":5}', "the payload names no queue"),
        ('{"queue":"mail"}', "the payload has no `class`, so nothing says which job to run"),
    ],
)
def test_a_job_without_a_queue_dies_and_says_why(text: str, reason: str, sets: Sets, redis_client: redis.Redis) -> None:
    redis_client.zadd("schedule", {text: 1.0})
    assert sets.promote(NOW) == 1
    [dead] = redis_client.zrangebyscore("dead", NOW, NOW)
    found = json.loads(cast(bytes, dead))
    assert (found["error_class"], found["error_message"], found["failed_at"]) == ("BadPayload", reason, NOW)


@pytest.mark.parametrize("text", [b"broken", b"\xff", b"5", b"[]", b"", b'{"class":"A","queue":"mail",}'])
def test_what_is_no_job_dies_as_it_is_and_holds_nobody_up(text: bytes, sets: Sets, redis_client: redis.Redis) -> None:
    redis_client.zadd("schedule", {text: 1.0, b'{"class":"A","queue":"mail"}': 2.0})
    assert sets.promote(NOW) == 2
    assert redis_client.zrange("dead", 0, -1) == [text]
    assert len(queued(redis_client, "mail")) == 1


def test_many_in_bounded_calls(sets: Sets, redis_client: redis.Redis) -> None:
    jobs = {f'{{"class":"A","queue":"mail","args":[{number}]}}': float(number) for number in range(1200)}
    redis_client.zadd("schedule", dict(jobs))
    moved: list[int] = []
    while not moved or moved[-1]:
        moved.append(sets.promote(NOW))
    assert moved == [PROMOTE_ITEMS, PROMOTE_ITEMS, 200, 0]
    assert [json.loads(text)["args"][0] for text in queued(redis_client, "mail")] == list(range(1200))


def test_large_jobs_in_smaller_calls(sets: Sets, redis_client: redis.Redis) -> None:
    for number in range(6):
        redis_client.zadd("schedule", {f'{{"class":"A","queue":"mail","args":["{"x" * 200_000}{number}"]}}': number})
    assert [sets.promote(NOW) for _ in range(4)] == [3, 3, 0, 0]
    assert [json.loads(text)["args"][0][-1] for text in queued(redis_client, "mail")] == list("012345")


def test_a_full_server_promotes(sets: Sets, redis_client: redis.Redis) -> None:
    redis_client.zadd("schedule", {'{"class":"A","queue":"mail"}': 1.0, "broken": 1.0})
    redis_client.config_set("maxmemory", 1)
    try:
        assert sets.promote(NOW) == 2
    finally:
        redis_client.config_set("maxmemory", 0)


def test_one_leads_at_a_time(sets: Sets) -> None:
    assert sets.lead("promote", "a", 0.3)
    assert sets.lead("promote", "a", 0.3)
    assert not sets.lead("promote", "b", 0.3)
    assert sets.lead("cron", "b", 0.3)
    eventually(lambda: sets.lead("promote", "b", 60))
    assert not sets.lead("promote", "a", 0.3)
