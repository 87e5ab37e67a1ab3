"""reliq.batch: what is collected, when it is sent, and what is known when something goes wrong."""

import asyncio
import contextvars
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis

from chaos.eventually import eventually
from chaos.proxy import Proxy, script
from chaos.servers import Server
from reliq import BadArguments, Batch, Config, Refused, Reliq, Unreachable
from reliq.store import stream
from reliq.store.queue import BATCH_BYTES, BATCH_ITEMS
from reliq.store.scripts import Library

SHAS = Library.load().shas


@pytest.fixture
def app(server: Server) -> Iterator[Reliq]:
    """An application at the shared server."""
    made = Reliq(server.url)
    yield made
    made.close()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every chunk is waited for."""
    monkeypatch.setattr(stream, "QUICK", 0.0)


@pytest.fixture
def far_app(proxy: Proxy) -> Iterator[Reliq]:
    """One behind the proxy, which has sent one job."""
    made = Reliq(proxy.url, config=Config(command_timeout=0.5, resend_for=1.0))
    made.enqueue("job", "first")
    yield made
    made.close()


def jobs(client: redis.Redis, queue: str = "default") -> list[Any]:
    """The first arguments of what is in the queue, in the order of claiming."""
    found: Any = client.lrange(f"queue:{queue}", 0, -1)
    return [orjson.loads(payload)["args"][0] for payload in found[::-1]]


# -- collecting and sending


def test_nothing_is_sent_before_the_end(app: Reliq, redis_client: redis.Redis) -> None:
    with app.batch_enqueue() as batch:
        jids = [app.enqueue("job", number, queue="odd" if number % 2 else "even") for number in range(10)]
        app.enqueue_in(60, "job", "later")
        assert redis_client.keys("*") == []
        assert (batch.collected, batch.enqueued, batch.unsure) == (11, 0, 0)
    assert (batch.collected, batch.enqueued, batch.unsure) == (11, 11, 0)
    assert (jobs(redis_client, "even"), jobs(redis_client, "odd")) == ([0, 2, 4, 6, 8], [1, 3, 5, 7, 9])
    payloads: Any = redis_client.lrange("queue:even", 0, -1)
    assert [orjson.loads(payload)["jid"] for payload in payloads[::-1]] == jids[::2]
    assert redis_client.zcard("schedule") == 1
    assert len(redis_client.keys("sent:*")) == 1


def test_a_full_chunk_is_sent_by_itself(app: Reliq, redis_client: redis.Redis) -> None:
    with app.batch_enqueue() as batch:
        for number in range(BATCH_ITEMS - 1):
            app.enqueue("job", number)
        assert not redis_client.exists("queue:default")
        app.enqueue("job", BATCH_ITEMS - 1)
        assert batch.enqueued == redis_client.llen("queue:default") == BATCH_ITEMS
        for number in range(BATCH_ITEMS, 2 * BATCH_ITEMS + 5):
            app.enqueue("job", number)
        eventually(lambda: redis_client.llen("queue:default") == 2 * BATCH_ITEMS)
    assert jobs(redis_client) == list(range(2 * BATCH_ITEMS + 5))


@pytest.mark.usefixtures("patient")
def test_a_chunk_is_full_with_a_mebibyte(app: Reliq, redis_client: redis.Redis) -> None:
    with app.batch_enqueue() as batch:
        for _ in range(4):
            app.enqueue("job", "x" * (BATCH_BYTES // 4))
            app.enqueue_in(60, "job", "x" * 100)
        assert batch.enqueued == 7
        assert (redis_client.llen("queue:default"), redis_client.zcard("schedule")) == (4, 3)
    assert (redis_client.llen("queue:default"), redis_client.zcard("schedule")) == (4, 4)


def test_all_kinds_of_calls_are_collected_in_their_order(app: Reliq, redis_client: redis.Redis) -> None:
    @app.job
    def job(key: object) -> None: ...

    async def last() -> None:
        await job.aenqueue(6)

    with app.batch_enqueue() as batch:
        job.enqueue(1)
        assert job.enqueue_many([(2,), (3,)]) != []
        job.using(retry=3).enqueue(4)
        app.enqueue("job", 5)
        asyncio.run(last())
        job.enqueue_at(1.0, "later")
        assert batch.collected == 7
        assert redis_client.keys("*") == []
    assert jobs(redis_client) == [1, 2, 3, 4, 5, 6]
    assert redis_client.zcard("schedule") == 1


def test_a_block_inside_of_another_one_belongs_to_it(app: Reliq, redis_client: redis.Redis) -> None:
    def within(outer: Batch) -> None:
        with app.batch_enqueue() as inner:
            assert inner is outer
            app.enqueue("job", 1)
            raise ZeroDivisionError

    with app.batch_enqueue() as outer:
        with pytest.raises(ZeroDivisionError):
            within(outer)
        app.enqueue("job", 2)
        assert redis_client.keys("*") == []
    assert jobs(redis_client) == [1, 2]
    with app.batch_enqueue() as another:
        assert another is not outer


def test_each_application_has_its_own(app: Reliq, server: Server, redis_client: redis.Redis) -> None:
    other = Reliq(server.url)
    with app.batch_enqueue(), other.batch_enqueue() as batch:
        app.enqueue("job", 1)
        other.enqueue("job", 2)
        assert batch.collected == 1
        assert redis_client.keys("*") == []
    assert jobs(redis_client) == [2, 1]
    other.close()


def test_a_lost_reply_sends_nothing_twice(proxy: Proxy, far_app: Reliq, redis_client: redis.Redis) -> None:
    far_app.enqueue_in(60, "job", "first")  # the server knows both scripts now
    traps = [proxy.drop_reply(script(SHAS[name])) for name in ("enqueue", "enqueue", "schedule")]
    with far_app.batch_enqueue() as batch:
        for number in range(2500):
            far_app.enqueue("job", number)
        far_app.enqueue_in(60, "job", "later")
    assert [trap.reply for trap in traps] == [b":1000\r\n", b":0\r\n", b":1\r\n"]
    assert batch.enqueued == 2501
    assert jobs(redis_client) == ["first", *range(2500)]
    assert redis_client.zcard("schedule") == 2


# -- threads, tasks, processes


def test_another_thread_is_not_in_the_block(app: Reliq, redis_client: redis.Redis) -> None:
    with app.batch_enqueue():
        app.enqueue("job", "here")
        # In a context of its own, as threads are started in by default in every Python but the free-threaded one.
        thread = threading.Thread(target=contextvars.Context().run, args=(app.enqueue, "job", "there"))
        thread.start()
        thread.join()
        assert jobs(redis_client) == ["there"]
    assert jobs(redis_client) == ["there", "here"]


def test_tasks_and_their_threads_are_in_the_block(app: Reliq, redis_client: redis.Redis) -> None:
    @app.job
    def job(number: int) -> None: ...

    async def main() -> Batch:
        async with app.batch_enqueue() as batch:
            await asyncio.gather(*(job.aenqueue(number) for number in range(3500)))
            await asyncio.to_thread(job.enqueue, 3500)
            assert batch.collected == 3501
        return batch

    assert asyncio.run(main()).enqueued == 3501
    assert jobs(redis_client) == list(range(3501))


def test_what_outlives_the_block_sends_by_itself(app: Reliq, redis_client: redis.Redis) -> None:
    async def main() -> None:
        go = asyncio.Event()

        async def late() -> None:
            await go.wait()
            app.enqueue("job", "late")
            assert jobs(redis_client) == ["in time", "late"]
            with app.batch_enqueue() as own:
                app.enqueue("job", "later")
            assert own.enqueued == 1

        with app.batch_enqueue():
            task = asyncio.create_task(late())
            await asyncio.sleep(0)
            app.enqueue("job", "in time")
        go.set()
        await task

    asyncio.run(main())
    assert jobs(redis_client) == ["in time", "late", "later"]


FORKS = """
import os, sys
from reliq import Reliq

app = Reliq(sys.argv[1])
with app.batch_enqueue() as batch:
    app.enqueue("job", "parent")
    child = os.fork()
    if not child:
        app.enqueue("job", "child")
        with app.batch_enqueue():
            app.enqueue("job", "child's own")
    else:
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
app.close()
assert batch.enqueued == (1 if child else 0)
"""


def test_a_child_that_is_forked_inside_of_the_block_is_not_in_it(server: Server, redis_client: redis.Redis) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", FORKS, server.url], env=environment, timeout=30, check=True)
    assert jobs(redis_client) == ["child", "child's own", "parent"]


# -- when something goes wrong


def test_nothing_more_is_sent_when_the_block_raises(app: Reliq, redis_client: redis.Redis) -> None:
    batch = app.batch_enqueue()

    def block() -> None:
        with batch:
            for number in range(BATCH_ITEMS + 500):
                app.enqueue("job", number)
            app.enqueue("job", b"bytes")

    with pytest.raises(BadArguments, match=r"^argument 1: bytes is not JSON") as caught:
        block()
    assert caught.value.__notes__ == ["1,000 of the 1,500 jobs of the batch are enqueued, the others are not"]
    assert (batch.collected, batch.enqueued, batch.unsure) == (1500, 1000, 0)
    assert jobs(redis_client) == list(range(1000))
    app.enqueue("job", "next")
    assert redis_client.llen("queue:default") == 1001


def test_an_error_before_the_first_job_has_no_note(app: Reliq) -> None:
    with pytest.raises(ZeroDivisionError) as caught, app.batch_enqueue():
        raise ZeroDivisionError
    assert not hasattr(caught.value, "__notes__")


def test_a_refused_chunk_is_told_at_the_end(app: Reliq, redis_client: redis.Redis) -> None:
    batch = app.batch_enqueue()

    def block() -> None:
        with batch:
            app.enqueue("job", 1)
            app.enqueue("job", 2, queue="broken")
            app.enqueue("job", 3, queue="other")

    redis_client.set("queue:broken", "text")
    with pytest.raises(Refused, match=r"; 1 of the 3 jobs of the batch are enqueued, the others are not$") as caught:
        block()
    assert caught.value.code == "WRONGTYPE"
    assert (batch.collected, batch.enqueued, batch.unsure) == (3, 1, 0)
    assert (jobs(redis_client), redis_client.exists("queue:other")) == ([1], 0)
    redis_client.delete("queue:broken")


def test_who_swallows_a_failure_hears_of_it_again(app: Reliq, redis_client: redis.Redis) -> None:
    batch = app.batch_enqueue()
    failures: list[Refused] = []

    def block() -> None:
        with batch:
            for number in range(BATCH_ITEMS + 5):
                try:
                    app.enqueue("job", number, queue="broken")
                except Refused as failure:
                    failures.append(failure)
            redis_client.delete("queue:broken")

    redis_client.set("queue:broken", "text")
    with pytest.raises(Refused) as caught:
        block()
    assert failures == [caught.value] * 6  # of the call that filled the chunk, and of all that followed
    assert str(caught.value).endswith("; 0 of the 1,000 jobs of the batch are enqueued, the others are not")
    assert (batch.collected, batch.enqueued, batch.unsure) == (1000, 0, 0)
    assert redis_client.keys("*") == []


def test_a_chunk_without_an_answer_may_be_there_or_not(proxy: Proxy, far_app: Reliq, redis_client: redis.Redis) -> None:
    batch = far_app.batch_enqueue()

    def block() -> None:
        with batch:
            far_app.enqueue("job", 1)
            far_app.enqueue("job", 2)
            proxy.freeze()

    told = r"or not; 0 of the 2 jobs of the batch are enqueued, 2 may be or not, the others are not$"
    with pytest.raises(Unreachable, match=told):
        block()
    assert (batch.collected, batch.enqueued, batch.unsure) == (2, 0, 2)
    proxy.thaw()
    eventually(lambda: jobs(redis_client) == ["first", 1, 2], why="what was on its way arrives")


def test_a_failing_async_block_says_so_too(app: Reliq, redis_client: redis.Redis) -> None:
    async def main() -> None:
        async with app.batch_enqueue():
            app.enqueue("job", 1)

    redis_client.set("queue:default", "text")
    with pytest.raises(Refused, match=r"; 0 of the 1 jobs of the batch are enqueued"):
        asyncio.run(main())
    redis_client.delete("queue:default")
