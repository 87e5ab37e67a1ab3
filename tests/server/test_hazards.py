"""What an application may do to its worker without meaning to."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import socket
from collections.abc import Callable, Iterator
from multiprocessing import Pipe
from typing import Any, cast

import pytest
import redis

from chaos.servers import Server
from reliq import ConfigError, JobTimeout, Reliq, Unreachable
from reliq.clock import SystemClock
from reliq.config import Config, WorkerConfig
from reliq.job import decode, encode
from reliq.outcome import Done, Retry, where
from reliq.server.ears import Ears
from reliq.server.executor.run import Run
from reliq.server.reaper import Reaper
from reliq.server.role import Role
from reliq.server.supervisor import Supervisor
from reliq.server.view import work_of
from reliq.store.claims import Claim, Ending
from reliq.store.connection import Link
from reliq.store.opening import Store
from reliq.store.probe import Probe
from reliq.store.processes import Entry, Processes
from reliq.store.sets import Sets


def run(app: Reliq, payload: bytes) -> Ending:
    runner = asyncio.Runner()
    try:
        attempt = Run(Claim(payload, 0, "web:1:0123456789ab"), "mail", 0.0)
        return attempt.go(app.handlers, cast(Probe, None), lambda _: None, lambda: runner)
    finally:
        runner.close()


def payload_of(name: str) -> bytes:
    return encode(name, [], {}, jid="a" * 24, queue="mail", retry=True, now=1.0)


def test_a_coroutine_behind_an_ordinary_decorator_runs() -> None:
    app = Reliq("redis://127.0.0.1:1")
    ran = []

    def traced(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def inner(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return inner

    @app.job
    @traced
    async def fetch() -> None:
        await asyncio.sleep(0)
        ran.append("fetch")

    assert run(app, payload_of("fetch")).outcome == Done()
    assert ran == ["fetch"]


def test_a_generator_is_no_job() -> None:
    app = Reliq("redis://127.0.0.1:1")

    def pages() -> Iterator[int]:
        yield 1

    with pytest.raises(ConfigError, match="a generator does nothing when it is called"):
        app.job(pages)


def test_a_failed_job_that_names_no_queue_returns_to_the_one_it_came_from() -> None:
    app = Reliq("redis://127.0.0.1:1")

    @app.job
    def boom() -> None:
        raise ValueError("no")

    ending = run(app, b'{"class":"boom","args":[],"jid":"b"}')
    assert isinstance(ending.outcome, Retry)
    assert decode(ending.outcome.payload).queue == "mail"


ODD_PLACES: list[Any] = [("f.py", 1, 2, b"abc"), ("f.py", "x", "y", "abc")]


@pytest.mark.parametrize("error", [SyntaxError("bad", place) for place in ODD_PLACES], ids=repr)
def test_an_error_whose_traceback_cannot_be_written_is_survived(error: BaseException) -> None:
    assert isinstance(where(error), str)


def test_a_run_that_ends_while_it_is_shown() -> None:
    class Ending:
        """Its thread is there at the first look only."""

        queue, begun = "mail", 1.0
        claim = Claim(b"{}", 0, "web:1:0123456789ab")
        looks = 0

        @property
        def thread(self) -> int | None:
            self.looks += 1
            return 255 if self.looks == 1 else None

    assert set(work_of([cast(Run, Ending())])) == {"ff"}


def test_a_connection_may_break_any_number_of_times(server: Server) -> None:
    link = Link(server.url, Config(url=server.url))
    for _ in range(150):
        assert link.call("PING") == b"PONG"
        link.close()
    link = Link("redis://127.0.0.1:1", Config(url="redis://127.0.0.1:1"))
    for _ in range(150):
        with pytest.raises(Unreachable, match="refused"):
            link.call("PING")


def test_a_process_that_a_job_forked_does_not_keep_the_loop_awake() -> None:
    """It has inherited the doorbell's socket: closing it here does not close it there."""

    class Bell:
        generation = 1

        def __init__(self) -> None:
            self.ours, self.theirs = socket.socketpair()

        def fileno(self) -> int:
            return self.ours.fileno()

    ours, theirs = Pipe()
    ears, bell = Ears(ours), Bell()
    ears.listen([bell], 0)
    child = os.fork()
    if child == 0:
        signal.pause()
    try:
        bell.ours.shutdown(socket.SHUT_RDWR)
        bell.ours.close()
        bell.theirs.close()
        ears.listen([], 0)
        assert ears._selector.select(0.05) == [], "nothing is heard of it any more"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        ears.close()
        ours.close()
        theirs.close()


def test_an_interrupt_between_a_decorator_and_its_coroutine_is_not_lost() -> None:
    app = Reliq("redis://127.0.0.1:1")
    ran = []
    attempt: list[Run] = []

    async def later() -> None:
        ran.append("later")

    @app.job(timeout=60)
    def makes_one() -> Any:
        with contextlib.suppress(JobTimeout):
            attempt[0].interrupt(JobTimeout)
            sum(range(1000))
        return later()

    attempt.append(Run(Claim(payload_of("makes_one"), 0, "web:1:0123456789ab"), "mail", 0.0))
    runner = asyncio.Runner()
    ending = attempt[0].go(app.handlers, cast(Probe, None), lambda _: None, lambda: runner)
    runner.close()
    assert isinstance(ending.outcome, Retry)
    assert ran == []


def test_large_payloads_are_promoted_in_small_bites(server: Server, redis_client: redis.Redis) -> None:
    store = Store(Config(url=server.url))
    link = store.link("test")
    sets = Sets(store, link)
    payloads = {
        encode("big", [f"{n}" * 200_000], {}, jid=f"{n:024x}", queue="mail", retry=True, now=1.0): 1.0 for n in range(9)
    }
    redis_client.zadd("schedule", payloads)
    bites = []
    while moved := sets.promote(2.0):
        bites.append(moved)
        assert sets._items <= 500
    link.close()
    assert sum(bites) == 9
    assert max(bites) <= 3
    assert redis_client.llen("queue:mail") == 9


def test_what_is_refused_for_one_dead_process_does_not_stop_the_others(
    server: Server, redis_client: redis.Redis
) -> None:
    store = Store(Config(url=server.url))
    link = store.link("test")
    processes = Processes(store, link)
    for n, queue in enumerate(("bad", "good")):
        identity = f"web:{n}:0123456789ab"
        processes.register(Entry(identity=identity, host="web", pid=n, queues=(queue,), started=1.0))
        redis_client.lpush(f"private:{identity}:{queue}", payload_of("job"))
        redis_client.set(f"heartbeat:{identity}", "fenced", ex=100)
        redis_client.zadd("beats", {identity: 1000.0 + n})
    redis_client.set("queue:bad", "no list")
    reaper = Reaper(store, SystemClock())
    reaper.tick()
    reaper.close()
    link.close()
    assert redis_client.llen("queue:good") == 1
    assert redis_client.llen("private:web:0:0123456789ab:bad") == 1, "nothing is lost"
    redis_client.delete("queue:bad")


class Leaping(SystemClock):
    """Two minutes pass between any two looks: longer than any pause of a reaper."""

    def __init__(self) -> None:
        self.now = 0.0

    def mono(self) -> float:
        self.now += 120.0
        return self.now


def test_a_recovery_that_is_refused_is_tried_on_and_on_and_said_once(
    server: Server, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(Config(url=server.url))
    identity = "web:1:0123456789ab"
    link = store.link("test")
    Processes(store, link).register(Entry(identity=identity, host="web", pid=1, queues=("mail",), started=1.0))
    link.close()
    redis_client.lpush(f"private:{identity}:mail", payload_of("job"))
    redis_client.set(f"heartbeat:{identity}", "fenced", ex=100)
    redis_client.zadd("beats", {identity: 1000.0})
    redis_client.set("queue:mail", "no list")
    reaper = Reaper(store, Leaping())
    for _ in range(5):
        reaper.tick()
    assert [record.message.partition(":")[0] for record in caplog.records if record.levelname == "ERROR"] == [
        "recovery of web"
    ]
    redis_client.delete("queue:mail")
    reaper.tick()
    reaper.close()
    assert redis_client.llen("queue:mail") == 1


def test_starts_may_fail_for_days() -> None:
    supervisor = Supervisor(Role(worker=WorkerConfig(app="shop.jobs:app"), version="0"))
    pauses = [supervisor._longer_pause() for _ in range(2000)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 10.0
    supervisor._selector.close()
