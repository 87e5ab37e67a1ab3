"""reliq.store.stream: chunk after chunk, each exactly once, and what is said when one of them fails."""

import math
from collections.abc import Iterator
from typing import cast

import pytest
import redis

from chaos.eventually import eventually
from chaos.proxy import Proxy, script
from reliq.errors import BadArguments, Refused, Unreachable
from reliq.store import queue as queue_module
from reliq.store import stream as stream_module
from reliq.store.opening import Store
from reliq.store.queue import Queue
from reliq.store.scripts import Library
from reliq.store.stream import Stream
from tests.store.conftest import OpenStore

SHAS = Library.load().shas


@pytest.fixture
def queue(store: Store) -> Iterator[Queue]:
    """A producer at the shared server."""
    made = Queue(store)
    yield made
    made.close()


@pytest.fixture
def far_queue(proxy: Proxy, open_store: OpenStore) -> Iterator[Queue]:
    """A producer behind the proxy, which has pushed one job."""
    made = Queue(open_store(proxy.url))
    made.enqueue("mail", [b"first"])
    yield made
    made.close()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every chunk but the first is on its way while the next one is made, however long that takes."""
    monkeypatch.setattr(stream_module, "QUICK", math.inf)


def jobs(client: redis.Redis, queue: str = "mail") -> list[bytes]:
    """What is in the queue, in the order of claiming."""
    return cast(list[bytes], client.lrange(f"queue:{queue}", 0, -1))[::-1]


@pytest.mark.parametrize("quick", [0.0, math.inf])
def test_chunks_arrive_in_their_order_over_one_connection(
    quick: float, queue: Queue, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "QUICK", quick)
    stream = Stream(queue)
    stream.enqueue("mail", [b"a", b"b"])
    assert (stream.enqueued, stream.unsure) == (2, 0)  # the first one is waited for in any case
    stream.enqueue("low", [b"c"])
    stream.schedule([(5.0, b"d")])
    stream.enqueue("mail", [b"e"])
    assert (stream.enqueued, stream.unsure) == (4 if quick else 5, 0)
    stream.finish()
    assert (stream.enqueued, stream.unsure) == (5, 0)
    assert (jobs(redis_client), jobs(redis_client, "low")) == ([b"a", b"b", b"e"], [b"c"])
    assert redis_client.zrange("schedule", 0, -1, withscores=True) == [(b"d", 5.0)]
    assert len(redis_client.keys("sent:*")) == 1


@pytest.mark.usefixtures("hasty")
def test_the_server_works_while_nobody_waits_for_it(queue: Queue, redis_client: redis.Redis) -> None:
    stream = Stream(queue)
    stream.enqueue("mail", [b"a"])
    stream.enqueue("mail", [b"b"])
    eventually(lambda: jobs(redis_client) == [b"a", b"b"])
    assert stream.enqueued == 1
    stream.finish()
    assert stream.enqueued == 2


# -- exactly once


@pytest.mark.usefixtures("hasty")
def test_lost_replies_push_nothing_twice(proxy: Proxy, far_queue: Queue, redis_client: redis.Redis) -> None:
    stream = Stream(far_queue)
    for number in range(4):
        proxy.drop_reply(script(SHAS["enqueue"]))
        stream.enqueue("mail", [b"%d" % number])
    stream.finish()
    assert jobs(redis_client) == [b"first", b"0", b"1", b"2", b"3"]
    assert (stream.enqueued, stream.unsure) == (4, 0)


@pytest.mark.usefixtures("hasty")
def test_a_chunk_waits_for_the_one_before_it(proxy: Proxy, far_queue: Queue, redis_client: redis.Redis) -> None:
    """One that is late is sent again before the next one goes; when it arrives after all, it pushes nothing."""
    stream = Stream(far_queue)
    stream.enqueue("mail", [b"0"])
    trap = proxy.hold(script(SHAS["enqueue"]))
    stream.enqueue("mail", [b"a"])
    stream.enqueue("mail", [b"b"])
    stream.finish()
    assert proxy.deliver(trap) == b":0\r\n"
    assert jobs(redis_client) == [b"first", b"0", b"a", b"b"]


@pytest.mark.usefixtures("hasty")
def test_the_script_may_be_lost_between_chunks(queue: Queue, redis_client: redis.Redis) -> None:
    stream = Stream(queue)
    for number in range(3):
        redis_client.script_flush()
        stream.enqueue("mail", [b"%d" % number])
    stream.finish()
    assert jobs(redis_client) == [b"0", b"1", b"2"]


def test_a_call_is_not_sent_again_when_its_number_may_be_forgotten(
    proxy: Proxy, far_queue: Queue, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever finishes a call late, after being frozen perhaps, learns that nobody knows."""
    monkeypatch.setattr(queue_module, "MARK_MS", 50)
    trap = proxy.drop_reply(script(SHAS["enqueue"]))
    call = far_queue.begin_enqueue("mail", [b"a"])
    trap.wait()
    eventually(lambda: not redis_client.keys("sent:*"), why="the number is forgotten")
    with pytest.raises(Unreachable, match=r"the job may have been enqueued or not$"):
        call.finish()
    assert jobs(redis_client) == [b"first", b"a"]


# -- when a chunk fails


@pytest.mark.usefixtures("hasty")
def test_a_refused_chunk_ends_the_stream_and_the_error_counts(queue: Queue, redis_client: redis.Redis) -> None:
    redis_client.set("queue:low", "text")
    stream = Stream(queue)
    stream.enqueue("mail", [b"a", b"b"])
    stream.enqueue("low", [b"c", b"d", b"e"])
    with pytest.raises(Refused, match=r"; 2 of the jobs are enqueued, the others are not$") as caught:
        stream.enqueue("mail", [b"f"])
    assert caught.value.code == "WRONGTYPE"
    stream.give_up(caught.value)  # says it once
    assert str(caught.value).count("are enqueued") == 1
    assert not hasattr(caught.value, "__notes__")
    assert (stream.enqueued, stream.unsure) == (2, 0)
    assert jobs(redis_client) == [b"a", b"b"]
    redis_client.delete("queue:low")


@pytest.mark.usefixtures("hasty")
def test_a_chunk_without_an_answer_may_be_there_or_not(
    proxy: Proxy, open_store: OpenStore, redis_client: redis.Redis
) -> None:
    queue = Queue(open_store(proxy.url, command_timeout=0.1, resend_for=0.2))
    stream = Stream(queue)
    stream.enqueue("mail", [b"a"])
    stream.finish()
    proxy.freeze()
    stream.enqueue("mail", [b"b", b"c"])
    told = r"the job may have been enqueued or not; 1 of the jobs are enqueued, 2 may be or not, the others are not$"
    with pytest.raises(Unreachable, match=told):
        stream.enqueue("mail", [b"d"])
    assert (stream.enqueued, stream.unsure) == (1, 2)
    proxy.thaw()
    eventually(lambda: jobs(redis_client) == [b"a", b"b", b"c"], why="what was on its way arrives")
    queue.close()


def test_another_error_notes_what_became_of_the_jobs(queue: Queue, redis_client: redis.Redis) -> None:
    stream = Stream(queue)
    stream.enqueue("mail", [b"a"])
    error = BadArguments("the next one is no JSON")
    stream.give_up(error)
    assert str(error) == "the next one is no JSON"
    assert error.__notes__ == ["1 of the jobs are enqueued, the others are not"]
    assert jobs(redis_client) == [b"a"]


@pytest.mark.usefixtures("hasty")
def test_another_error_notes_that_the_last_chunk_failed_too(queue: Queue, redis_client: redis.Redis) -> None:
    redis_client.set("queue:mail", "text")
    stream = Stream(queue)
    stream.enqueue("low", [b"a"])
    stream.enqueue("mail", [b"b"])
    error = ValueError()
    stream.give_up(error)
    (note,) = error.__notes__
    assert "WRONGTYPE" in note
    assert note.endswith("; 1 of the jobs are enqueued, the others are not")
    redis_client.delete("queue:mail")
