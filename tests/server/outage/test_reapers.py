"""Reapers beside one another, killed at any moment: every job is at every instant in exactly one place.

(Promises 1, 6 and 8; docs/counterexamples.md 10, 25)
"""

import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self, cast

import attrs
import orjson
import pytest
import redis

from chaos.eventually import eventually
from chaos.proxy import Proxy, script
from chaos.servers import Server
from reliq.config import Config
from reliq.job import encode, jid_of, new_jid
from reliq.store.opening import Store
from reliq.store.processes import Entry, Processes, new_identity
from reliq.store.scripts import Library
from tests.server.conftest import FleetOn
from tests.server.outage.load import dice
from tests.support.fleet import CONFIRM, FAST, TTL, Fleet

REAP = script(Library.load().shas["reap"])


@attrs.frozen
class Victim:
    """A dead process: what it held, oldest first, by queue."""

    identity: str
    held: dict[str, list[bytes]]


def victim(server: Server, client: redis.Redis, queues: dict[str, int], **config: float) -> Victim:
    """Register, hold so many jobs of each queue, and be heard of no more."""
    store = Store(Config(url=server.url, **(FAST | config)))  # type: ignore[arg-type]
    link = store.link("victim")
    identity = new_identity("gone", os.getpid())
    Processes(store, link).register(Entry(identity=identity, host="gone", pid=1, queues=tuple(queues), started=1.0))
    link.close()
    held = {}
    for queue, count in queues.items():
        held[queue] = [encode("quick", [n], {}, jid=new_jid(), queue=queue, retry=True, now=1.0) for n in range(count)]
        client.sadd("queues", queue)
        client.lpush(f"private:{identity}:{queue}", *held[queue])
    return Victim(identity, held)


@contextmanager
def reapers(fleet: Fleet, *urls: str) -> Iterator[list["subprocess.Popen[str]"]]:
    """`reliq reaper` processes, one for each URL; ended in the end."""
    started = [fleet.begin("reaper", "--url", url) for url in urls]
    try:
        yield started
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.communicate(timeout=10)


class Watch:
    """Counts the jobs in all lists in one transaction, over and over; notes every instant with another number."""

    def __init__(self, server: Server, keys: list[str], expected: int) -> None:
        self.looks = 0
        self.wrong: list[int] = []
        self._server, self._keys, self._expected = server, keys, expected
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch")

    def _look(self) -> None:
        with self._server.client() as client:
            while not self._over.is_set():
                with client.pipeline(transaction=True) as pipe:
                    for key in self._keys:
                        pipe.llen(key)
                    lengths = cast("list[int]", pipe.execute())
                self.looks += 1
                if sum(lengths) != self._expected:
                    self.wrong.append(sum(lengths))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)


@pytest.mark.slow
@pytest.mark.parametrize("call", ["kept back", "answer lost"])
def test_a_reaper_is_killed_in_mid_sweep_and_another_one_finishes(
    call: str, server: Server, proxy: Proxy, redis_client: redis.Redis, fleet_on: FleetOn
) -> None:
    """8,000 jobs, SIGKILL in the third of eight steps. The step that was on its way arrives when all is done."""
    fleet = fleet_on(server.url)
    dead = victim(server, redis_client, {"default": 8000})
    private = f"private:{dead.identity}:default"
    steps = 0

    def third(command: tuple[bytes, ...]) -> bool:
        nonlocal steps
        steps += REAP(command)
        return REAP(command) and steps == 3

    trap = proxy.hold(third) if call == "kept back" else proxy.drop_reply(third)
    with Watch(server, [private, "queue:default"], 8000) as watch:
        with reapers(fleet, proxy.url) as (first,):
            # It is the trap's own thread that sees the third step; the reaper is dead before it can try again.
            trap.wait(TTL + CONFIRM + 10.0)
            first.send_signal(signal.SIGKILL)
            first.wait(10)
        between = redis_client.llen(private)
        with reapers(fleet, server.url):
            eventually(lambda: not redis_client.exists(private), 15.0, "the other one finishes")
        if call == "kept back":
            proxy.deliver(trap)
    assert between > 0, "it was killed in mid-sweep"
    assert watch.wrong == []
    assert watch.looks > 50
    jobs = dead.held["default"]
    found = cast("list[bytes]", redis_client.lrange("queue:default", 0, -1))
    assert Counter(found) == Counter(jobs)
    assert found == jobs[::-1], "in their old order"
    assert redis_client.hlen("crashes") == 0, "none of them had started"


@pytest.mark.slow
def test_several_reapers_and_many_dead_and_some_reapers_die(
    server: Server, redis_client: redis.Redis, fleet_on: FleetOn
) -> None:
    """Four reapers, sixty dead with two queues each; two of the reapers are killed at random moments."""
    random = dice()
    fleet = fleet_on(server.url)
    dead = [victim(server, redis_client, {"first": 40, "second": 25}) for _ in range(60)]
    for one in dead:
        text = one.held["first"][0].decode()
        redis_client.hset(f"{one.identity}:work", "1", _work(text))
        redis_client.pexpire(f"{one.identity}:work", 60_000)
    keys = [f"private:{one.identity}:{queue}" for one in dead for queue in ("first", "second")]
    watch = Watch(server, [*keys, "queue:first", "queue:second"], 60 * 65)
    with watch, reapers(fleet, *[server.url] * 4) as running:
        for process in running[:2]:
            wanted = random.randrange(1, len(keys))
            eventually(lambda wanted=wanted: redis_client.exists(*keys) <= wanted, 20.0)  # type: ignore[misc]
            process.send_signal(signal.SIGKILL)
        eventually(lambda: not redis_client.exists(*keys), 20.0, "everything is back")
    assert watch.wrong == []
    for queue in ("first", "second"):
        found = cast("list[bytes]", redis_client.lrange(f"queue:{queue}", 0, -1))
        assert Counter(found) == Counter(job for one in dead for job in one.held[queue])
    counted = cast("dict[bytes, bytes]", redis_client.hgetall("crashes"))
    assert {jid.decode(): int(record.split(b":")[0]) for jid, record in counted.items()} == {
        jid_of(one.held["first"][0]): 1 for one in dead
    }


def _work(payload: str) -> bytes:
    return orjson.dumps({"queue": "first", "payload": payload, "run_at": 1})
