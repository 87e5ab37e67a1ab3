"""The observer: reads payloads without spoiling them, counts homes, knows the key table."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from chaos.jobs import digest
from chaos.observer import Observer, arguments_of, differs, key_table, token_of
from chaos.servers import Server
from tests.support import leaks

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
IDENTITY = "host:17:0123456789ab"


@pytest.fixture
def observer(server: Server) -> Iterator[Observer]:
    one = Observer(unix_socket_path=str(server.socket))
    yield one
    one.close()


@given(args=st.lists(JSON, max_size=4), indent=st.sampled_from([None, 1]), before=st.text(), after=JSON)
def test_arguments_are_found_byte_for_byte(args: list[object], indent: int | None, before: str, after: object) -> None:
    text = json.dumps(args, indent=indent)
    payload = f'{{"class": {json.dumps(before)}, "args" : {text}, "kwargs": {json.dumps(after)}}}'
    if '"args"' in json.dumps(before).replace("\\", ""):
        return  # a name that looks like the key; no job of the harness has one
    assert arguments_of(payload.encode()) == text.encode()
    assert not differs(text.encode(), digest(args))


@pytest.mark.parametrize("payload", [b"", b"5", b'{"args": 5}', b'{"args": [1', b'{"args": ["]'])
def test_a_payload_without_arguments_has_none(payload: bytes) -> None:
    assert arguments_of(payload) == b""
    assert token_of(payload) == (None, b"")


def test_a_digit_more_is_seen() -> None:
    assert differs(b"[1, 100000000000000000001]", digest([1, 100000000000000000000]))
    assert differs(b"[1, 0.1]", digest([1, "0.1"]))
    assert differs(b"nonsense", digest([1]))


def payload(token: int) -> str:
    return json.dumps({"class": "work", "args": [token, None], "jid": f"j{token}"})


def test_a_census_finds_every_home(observer: Observer, redis_client: redis.Redis) -> None:
    redis_client.sadd("queues", "default")
    redis_client.zadd("beats", {IDENTITY: 1})
    redis_client.lpush("queue:default", payload(1), payload(2))
    redis_client.lpush(f"private:{IDENTITY}:default", payload(3))
    redis_client.lpush("quarantine:default", payload(4))
    redis_client.zadd("schedule", {payload(5): 1})
    redis_client.zadd("retry", {payload(6): 1, payload(1): 1})
    redis_client.zadd("dead", {payload(7): 1, "no job": 1})
    census = observer.census()
    assert {token: sorted(homes) for token, homes in census.homes.items()} == {
        1: ["queue:default", "retry"],
        2: ["queue:default"],
        3: [f"private:{IDENTITY}"],
        4: ["quarantine:default"],
        5: ["schedule"],
        6: ["retry"],
        7: ["dead"],
    }
    assert census.strange == 1
    assert census.by_kind() == {"queue": 2, "private": 1, "quarantine": 1, "schedule": 1, "retry": 2, "dead": 1}
    assert census.arguments[3] == {b"[3, null]"}


def test_keys_that_the_documents_do_not_know_are_strange(observer: Observer, redis_client: redis.Redis) -> None:
    redis_client.sadd("queues", "default")
    redis_client.set("stat:processed", 1)
    assert observer.strange_keys() == []
    redis_client.lpush(f"private:{IDENTITY}:default", payload(1))
    redis_client.set(f"heartbeat:{IDENTITY}", "5")
    redis_client.hset("stat:failed", "a", 1)
    assert sorted(observer.strange_keys()) == [
        f"heartbeat:{IDENTITY}: ends in -1 ms, the key table says TTL; a day",
        f"private:{IDENTITY}:default: a private list is left",
        "stat:failed: is a hash, the key table says string",
    ]
    redis_client.delete(f"private:{IDENTITY}:default", f"heartbeat:{IDENTITY}", "stat:failed")


def test_the_documents_have_the_key_table_of_the_code() -> None:
    assert {(row.name, row.type) for row in key_table()} == {(row.name, row.type) for row in leaks.key_table()}


def test_fenced_identities_are_told_from_the_living(observer: Observer, redis_client: redis.Redis) -> None:
    redis_client.zadd("beats", {IDENTITY: 1, "host:18:0123456789ab": 2})
    redis_client.set(f"heartbeat:{IDENTITY}", "fenced", px=1000)
    assert observer.fenced() == [IDENTITY]
    assert observer.walk() == 2
