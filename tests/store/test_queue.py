"""reliq.store.queue: each job is enqueued exactly once, whatever happens to the connection."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import cast

import pytest
import redis
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from chaos.eventually import eventually
from chaos.proxy import Proxy, named, script
from chaos.servers import Server
from reliq.errors import Refused, Unreachable
from reliq.store.opening import Store
from reliq.store.queue import BATCH_BYTES, BATCH_ITEMS, Queue, batches
from reliq.store.scripts import Library
from tests.conftest import FreshServer
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


def jobs(client: redis.Redis) -> list[bytes]:
    """What is in the queue, in the order of claiming."""
    return cast(list[bytes], client.lrange("queue:mail", 0, -1))[::-1]


# -- pushing


def test_payloads_are_claimed_in_the_order_of_enqueueing(queue: Queue, redis_client: redis.Redis) -> None:
    queue.enqueue("mail", [b"a", b"\xff\x00"])
    queue.enqueue("mail", [b"c"])
    queue.enqueue("low", [b"d"])
    assert jobs(redis_client) == [b"a", b"\xff\x00", b"c"]
    assert redis_client.smembers("queues") == {b"mail", b"low"}
    assert len(redis_client.keys("sent:*")) == 1


def test_scheduled_payloads_wait_for_their_time(queue: Queue, redis_client: redis.Redis) -> None:
    queue.schedule([(1700000000.123456, b"a"), (5.0, b"\xff")])
    assert redis_client.zrange("schedule", 0, -1, withscores=True) == [(b"\xff", 5.0), (b"a", 1700000000.123456)]


def test_a_namespace_stands_before_every_key(open_store: OpenStore, redis_client: redis.Redis) -> None:
    queue = Queue(open_store(namespace="{shop}"))
    queue.enqueue("mail", [b"a"])
    queue.schedule([(5.0, b"b")])
    queue.close()
    names = {re.sub(rb"(?<=sent:).+", b"ID", name) for name in cast(list[bytes], redis_client.keys("*"))}
    assert names == {b"{shop}:queues", b"{shop}:queue:mail", b"{shop}:schedule", b"{shop}:sent:ID"}


# -- exactly once


def test_a_lost_reply_pushes_nothing_twice(proxy: Proxy, far_queue: Queue, redis_client: redis.Redis) -> None:
    for number in range(3):
        trap = proxy.drop_reply(script(SHAS["enqueue"]))
        far_queue.enqueue("mail", [b"%d" % number])
        assert trap.reply == b":1\r\n"
    assert jobs(redis_client) == [b"first", b"0", b"1", b"2"]
    assert len(redis_client.keys("sent:*")) == 1


def test_a_lost_reply_schedules_nothing_twice(proxy: Proxy, far_queue: Queue, redis_client: redis.Redis) -> None:
    far_queue.schedule([(1.0, b"a")])
    trap = proxy.drop_reply(script(SHAS["schedule"]))
    far_queue.schedule([(2.0, b"b")])
    assert trap.reply == b":1\r\n"
    assert redis_client.zcard("schedule") == 2


def test_several_replies_in_a_row_may_be_lost(proxy: Proxy, far_queue: Queue, redis_client: redis.Redis) -> None:
    traps = [proxy.drop_reply(script(SHAS["enqueue"])) for _ in range(3)]
    far_queue.enqueue("mail", [b"a", b"b"])
    assert [trap.reply for trap in traps] == [b":2\r\n", b":0\r\n", b":0\r\n"]
    assert jobs(redis_client) == [b"first", b"a", b"b"]


def test_a_call_that_arrives_after_its_own_resend_pushes_nothing(
    proxy: Proxy, far_queue: Queue, redis_client: redis.Redis
) -> None:
    trap = proxy.hold(script(SHAS["enqueue"]))
    far_queue.enqueue("mail", [b"a"])
    assert jobs(redis_client) == [b"first", b"a"]
    assert proxy.deliver(trap) == b":0\r\n"
    far_queue.enqueue("mail", [b"b"])
    assert jobs(redis_client) == [b"first", b"a", b"b"]


def test_the_script_may_be_lost_at_any_time(proxy: Proxy, far_queue: Queue, redis_client: redis.Redis) -> None:
    redis_client.script_flush()
    far_queue.enqueue("mail", [b"a"])
    redis_client.script_flush()
    proxy.drop_reply(named("SCRIPT"))
    far_queue.enqueue("mail", [b"b"])
    redis_client.script_flush()
    proxy.drop_reply(script(SHAS["enqueue"]))
    far_queue.enqueue("mail", [b"c"])
    assert jobs(redis_client) == [b"first", b"a", b"b", b"c"]


def test_many_threads_at_once_while_connections_break(
    proxy: Proxy, open_store: OpenStore, redis_client: redis.Redis
) -> None:
    queue = Queue(open_store(proxy.url))
    failures: list[BaseException] = []

    def produce(name: int) -> None:
        try:
            for number in range(40):
                queue.enqueue("mail", [b"%d-%d" % (name, number)])
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=produce, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for done in (40, 100, 160, 220, 280):
        eventually(lambda done=done: redis_client.llen("queue:mail") >= done, within=20)  # type: ignore[misc]
        proxy.cut()
    for thread in threads:
        thread.join()
    assert not failures
    found = jobs(redis_client)
    assert sorted(found) == sorted(b"%d-%d" % (name, number) for name in range(8) for number in range(40))
    for name in range(8):
        own = [text for text in found if text.startswith(b"%d-" % name)]
        assert own == sorted(own, key=lambda text: int(text.partition(b"-")[2]))
    assert len(redis_client.keys("sent:*")) <= 8
    queue.close()


FORKS = """
import os, sys
from reliq.config import Config
from reliq.store.opening import Store
from reliq.store.queue import Queue

queue = Queue(Store(Config(url=sys.argv[1])))
queue.enqueue("mail", [b"before"])
child = os.fork()
if not child:
    for number in range(50):
        queue.enqueue("mail", [b"child"])
    os._exit(0)
for number in range(50):
    queue.enqueue("mail", [b"parent"])
_, status = os.waitpid(child, 0)
queue.enqueue("mail", [b"after"])
queue.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_after_a_fork_the_child_is_a_producer_of_its_own(server: Server, redis_client: redis.Redis) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", FORKS, server.url], env=environment, timeout=30, check=True)
    found = jobs(redis_client)
    assert (found[0], found[-1]) == (b"before", b"after")
    assert sorted(found[1:-1]) == [b"child"] * 50 + [b"parent"] * 50
    assert set(redis_client.mget(redis_client.keys("sent:*"))) == {b"50", b"52"}


# -- when Redis does not answer


def test_nobody_listens(tmp_path: Path, open_store: OpenStore) -> None:
    queue = Queue(open_store(f"unix://{tmp_path}/s", resend_for=0.3))
    began = time.monotonic()
    with pytest.raises(Unreachable, match=r"tried for 0.3 s, the job may have been enqueued or not$"):
        queue.enqueue("mail", [b"a"])
    assert 0.3 <= time.monotonic() - began < 3
    queue.close()


def test_a_server_that_comes_back_in_time(fresh_server: FreshServer, open_store: OpenStore) -> None:
    server = fresh_server(durable=True)
    queue = Queue(open_store(server.url))
    queue.enqueue("mail", [b"a"])
    server.kill()
    thread = threading.Thread(target=queue.enqueue, args=("mail", [b"b"]))
    thread.start()
    server.start()
    thread.join()
    queue.close()
    with server.client() as client:
        assert jobs(client) == [b"a", b"b"]


def test_a_refusal_after_a_try_without_an_answer_is_no_refusal(
    server: Server, proxy: Proxy, open_store: OpenStore, redis_client: redis.Redis
) -> None:
    """The first try was applied and its reply was lost; that the second is refused does not take the job away."""
    queue = Queue(open_store(proxy.url, resend_for=0.3))
    queue.enqueue("mail", [b"first"])
    limited: Callable[..., object] = redis_client.execute_command

    def refuse(_: int) -> None:
        limited("ACL", "SETUSER", "default", "-evalsha")

    proxy.strike(script(SHAS["enqueue"]), "after", refuse)
    try:
        with pytest.raises(Unreachable, match=r"may have been enqueued or not$"):
            queue.enqueue("mail", [b"second"])
    finally:
        limited("ACL", "SETUSER", "default", "+@all")
    assert jobs(redis_client) == [b"first", b"second"]
    queue.close()


def test_a_call_that_was_given_up_may_arrive_later_but_only_once(
    proxy: Proxy, open_store: OpenStore, redis_client: redis.Redis
) -> None:
    queue = Queue(open_store(proxy.url, command_timeout=0.1, resend_for=0.3))
    queue.enqueue("mail", [b"first"])
    proxy.freeze()
    with pytest.raises(Unreachable):
        queue.enqueue("mail", [b"late"])
    proxy.thaw()
    eventually(lambda: redis_client.llen("queue:mail") == 2, why="what was on its way arrives")
    queue.enqueue("mail", [b"next"])
    assert jobs(redis_client) == [b"first", b"late", b"next"]
    assert len(redis_client.keys("sent:*")) == 2
    queue.close()


# -- when Redis refuses


def test_a_full_server_refuses_at_once_and_nothing_is_stored(
    queue: Queue, server: Server, redis_client: redis.Redis
) -> None:
    queue.enqueue("mail", [b"a"])
    server.config(maxmemory=1)
    try:
        began = time.monotonic()
        with pytest.raises(Refused, match=r"^Redis is full \(maxmemory\)\. Nothing was stored") as caught:
            queue.enqueue("mail", [b"b"])
        with pytest.raises(Refused, match=r"^Redis is full"):
            queue.schedule([(1.0, b"b")])
        assert time.monotonic() - began < 1
        assert caught.value.code == "OOM"
    finally:
        server.config(maxmemory=0)
    queue.enqueue("mail", [b"c"])
    assert jobs(redis_client) == [b"a", b"c"]
    assert redis_client.exists("schedule") == 0
    assert len(redis_client.keys("sent:*")) == 1


def test_a_key_of_another_type_is_refused_at_once(queue: Queue, redis_client: redis.Redis) -> None:
    redis_client.set("queue:mail", "text")
    with pytest.raises(Refused) as caught:
        queue.enqueue("mail", [b"a"])
    assert caught.value.code == "WRONGTYPE"
    redis_client.delete("queue:mail")
    queue.enqueue("mail", [b"b"])
    assert jobs(redis_client) == [b"b"]


PASSING = {
    "READONLY": ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
    "MASTERDOWN": ("CONFIG SET replica-serve-stale-data no; REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
    "NOREPLICAS": ("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"),
}


def run(client: redis.Redis, commands: str) -> None:
    """Run commands that are separated by semicolons."""
    for command in commands.split("; "):
        client.execute_command(*command.split(" "))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("code", PASSING)
def test_a_refusal_that_passes_is_waited_for(code: str, fresh_server: FreshServer, open_store: OpenStore) -> None:
    ailment, cure = PASSING[code]
    server = fresh_server()
    impatient, patient = Queue(open_store(server.url, resend_for=0.2)), Queue(open_store(server.url))
    with server.client() as client:
        if code == "NOREPLICAS" and client.info("server")["redis_version"].startswith("6."):
            pytest.skip("scripts are let through by this server")
        run(client, ailment)
        with pytest.raises(Refused) as caught:
            impatient.enqueue("mail", [b"a"])
        assert caught.value.code == code
        thread = threading.Thread(target=patient.enqueue, args=("mail", [b"b"]))
        before = client.info("stats")["total_error_replies"]
        thread.start()
        eventually(
            lambda: client.info("stats")["total_error_replies"] >= before + 2, why="it is refused and sent again"
        )
        run(client, cure)
        thread.join()
        assert jobs(client) == [b"b"]
    impatient.close()
    patient.close()


def test_a_server_that_is_busy_with_a_script_is_waited_for(fresh_server: FreshServer, open_store: OpenStore) -> None:
    server = fresh_server(settings={"lua-time-limit": "1"})
    queue = Queue(open_store(server.url))
    queue.enqueue("mail", [b"a"])
    with server.client() as client, socket.socket(socket.AF_UNIX) as endless:
        endless.connect(str(server.socket))
        endless.sendall(b'EVAL "while true do end" 0\r\n')

        def busy() -> bool:
            try:
                return not client.ping()
            except redis.ResponseError as error:
                return "BUSY" in str(error)

        eventually(busy)
        thread = threading.Thread(target=queue.enqueue, args=("mail", [b"b"]))
        thread.start()
        thread.join(0.1)
        assert thread.is_alive()
        client.script_kill()
        thread.join()
        assert jobs(client) == [b"a", b"b"]
    queue.close()


# -- batches

SIZES = st.sampled_from([1, 1000, BATCH_BYTES // 3, BATCH_BYTES // 2, BATCH_BYTES - 1, BATCH_BYTES, BATCH_BYTES + 1])
TEXTS = {
    size: b"x" * size
    for size in (1, 1000, BATCH_BYTES // 3, BATCH_BYTES // 2, BATCH_BYTES - 1, BATCH_BYTES, BATCH_BYTES + 1)
}
RUNS = st.lists(st.tuples(SIZES, st.sampled_from([1, 1, 2, 3, 999, 1000, 1001, 2500])), max_size=6)


@examples(database=None, deadline=None)
@given(RUNS)
def test_batches_are_as_large_as_they_may_be_and_no_larger(runs: list[tuple[int, int]]) -> None:
    payloads = [TEXTS[size] for size, count in runs for _ in range(count if size <= 1000 else min(count, 3))]
    found = list(batches(iter(payloads)))
    assert [payload for batch in found for payload in batch] == payloads
    for batch in found:
        assert 1 <= len(batch) <= BATCH_ITEMS
        assert len(batch) == 1 or sum(map(len, batch)) <= BATCH_BYTES
    for batch, following in pairwise(found):
        full = len(batch) == BATCH_ITEMS
        assert full or sum(map(len, batch)) + len(following[0]) > BATCH_BYTES


def test_batches_read_no_further_than_they_must() -> None:
    read = 0

    def source() -> Iterator[bytes]:
        nonlocal read
        for _ in range(100_000):
            read += 1
            yield b"x" * 100

    found = batches(source())
    assert read == 0
    assert len(next(found)) == 1000
    assert read <= 1001
