"""Odd input and odd keyspaces: each of these once broke something."""

import signal
from typing import Any

import pytest
import redis

from reliq.config import Config, shown_url
from reliq.edit import with_fields
from reliq.errors import BadArguments, BadPayload, ConfigError, Refused, StoreError
from reliq.job import decode, encode, jid_of
from reliq.outcome import Bury, Drop, Release, Retry, of_error
from reliq.store.claims import Claim, Ending, Holding
from reliq.store.connection import Link
from reliq.store.opening import Store
from reliq.store.processes import Entry, Processes
from reliq.store.queue import Queue
from reliq.store.sets import Sets
from tests.store.conftest import OpenStore

ID = "web:7:0123456789ab"
NOW = 1700000000.5


# An interrupted call leaves its reply to the next one (JobTimeout and JobInterrupted hit Probe's shared link).
def test_an_interrupted_call_leaves_the_connection_in_step(link: Link) -> None:
    class Stop(BaseException): ...

    def stop(*_: Any) -> None:
        raise Stop

    link.call("PING")
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(Stop):
            link.call("BLPOP", "queue:none", 0.3)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert link.call("ECHO", "x") == b"x"


# A scheduled payload whose queue cannot be a queue's name stops or misleads the promoter.
@pytest.mark.parametrize("queue", ["\\ud800", "", "{a}", "x" * 200, "a\\n"])
def test_a_queue_name_that_cannot_be(queue: str, store: Store, link: Link, redis_client: redis.Redis) -> None:
    redis_client.zadd("schedule", {f'{{"class":"A","queue":"{queue}"}}': 1.0, '{"class":"B","queue":"mail"}': 2.0})
    assert Sets(store, link).promote(NOW) == 2
    assert redis_client.zcard("dead") == 1
    assert redis_client.smembers("queues") == {b"mail"}


# A jid or a name that UTF-8 cannot carry
@pytest.mark.parametrize("field", ["jid", "class"])
def test_text_that_cannot_be_sent(field: str) -> None:
    raw = b'{"class":"A","jid":"j"}'.replace(b'"%s":"' % field.encode(), b'"%s":"\\ud800' % field.encode())
    jid_of(raw).encode()
    if field == "jid":
        decode(raw).jid.encode()
    else:
        with pytest.raises(BadPayload, match="half a character"):
            decode(raw)


# A key that mixes an escaped lone surrogate with bytes that are no UTF-8; and keys keep their text
@pytest.mark.parametrize("text", ['{"\\ud800\udcff":1}', '{"\\udcff":1}', '{"\\/":1}'])
def test_keys_keep_their_bytes(text: str) -> None:
    raw = text.encode("utf-8", "surrogateescape")
    assert with_fields(raw, {"n": 1}) == raw[:-1] + b',"n":1}'


# of_error raises for what decode has read
@pytest.mark.parametrize("depth", [900, 1000, 1020])
def test_a_failed_job_with_deep_arguments(depth: int) -> None:
    raw = b'{"class":"A","args":' + b"[" * depth + b"]" * depth + b"}"
    assert type(of_error(raw, decode(raw), ValueError("no"), now=1.0)) in {Retry, Bury}


# Passwords in errors
@pytest.mark.parametrize(
    "url", ["http://me:s3cret@h", "redis:/:s3cret@h", "redis://:s3/cret@h:1", "redis://:s3#cret@h:1"]
)
def test_a_refused_url_shows_no_password(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Store(Config(url=url)).link("x")
    assert "cret" not in str(caught.value)


def test_a_password_in_the_query() -> None:
    assert "s3cret" not in shown_url("redis://h/0?password=s3cret")


def test_an_unknown_option_of_a_url(open_store: OpenStore) -> None:
    with pytest.raises((ConfigError, StoreError)):
        open_store("redis://127.0.0.1:1/0?bogus=1").link("x").call("PING")


# release onto a key of another type: the job is gone
def test_release_into_no_list(store: Store, link: Link, redis_client: redis.Redis) -> None:
    redis_client.rpush(f"private:{ID}:mail", "a")
    redis_client.set("queue:mail", "text")
    with pytest.raises(Refused):
        Holding(store, ID, ["mail"]).turn(link, [Ending(Claim(b"a", 0, ID), Release(), "a")], {}, 0, NOW)
    assert redis_client.lrange(f"private:{ID}:mail", 0, -1) == [b"a"]
    redis_client.delete("queue:mail")


# crashes of another type: the number is used up, nothing is settled, and reconcile says that it was applied
def test_crashes_of_another_type(store: Store, link: Link, redis_client: redis.Redis) -> None:
    redis_client.rpush(f"private:{ID}:mail", "a")
    redis_client.set("crashes", "text")
    holding = Holding(store, ID, ["mail"])
    with pytest.raises(Refused):
        holding.turn(link, [Ending(Claim(b"a", 0, ID), Drop("no"), "a")], {}, 0, NOW)
    last, lists = holding.reconcile(link)
    redis_client.delete("crashes")
    assert (last, lists) in [(0, [[b"a"]]), (1, [[]])]


# smaller ones
def test_an_entry_of_another_shape() -> None:
    assert Entry.of_json(ID, b'{"queues":5}').queues == ()


def test_no_connections_to_look_for(store: Store, link: Link) -> None:
    assert Processes(store, link).connected([]) == set()


def test_nothing_to_enqueue(store: Store, redis_client: redis.Redis) -> None:
    queue = Queue(store)
    queue.enqueue("mail", [])
    queue.schedule([])
    queue.close()
    assert redis_client.keys() == []


def test_a_lost_counter_does_not_end_a_leadership(store: Store, link: Link, redis_client: redis.Redis) -> None:
    sets = Sets(store, link)
    assert sets.lead("promote", "a", 60)
    redis_client.delete("lease:promote:number")
    assert sets.lead("promote", "a", 60)


@pytest.mark.parametrize("value", [[[[[[[["x" * 100_000]]]]]]], {"a" * 100_000: b"x"}, {"deep": None}])
def test_messages_stay_short(value: Any) -> None:
    if isinstance(value, list) or "deep" not in value:
        value = {"k" * 5000: [b"x"]}
    else:
        value = []
        for _ in range(240):
            value = [value]
    with pytest.raises(BadArguments) as caught:
        encode("A", [value], {}, jid="j", queue="q", retry=True, now=1.0)
    assert len(str(caught.value)) < 300
