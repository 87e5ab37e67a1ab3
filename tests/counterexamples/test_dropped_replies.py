"""The reply of every command that reliq sends is lost; or the command itself comes late, on its old connection.

Afterwards every job has run once and was counted once, nothing is left anywhere. (docs/counterexamples.md 6 to 9)
"""

import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import orjson
import pytest
import redis

from chaos.eventually import eventually
from chaos.proxy import Match, Proxy, Trap, script
from chaos.servers import Server
from reliq.errors import StoreError, Unreachable
from reliq.job import jid_of
from reliq.server.promoter import Promoter
from reliq.store.opening import Store
from reliq.store.scripts import Library
from reliq.store.sets import Sets
from tests.counterexamples import stage
from tests.counterexamples.stage import Ledger, Loop, Seat, application, nth, words

SHAS = Library.load().shas

LOOP = {
    **{name: script(SHAS[name]) for name in ("register", "turn", "reconcile", "show_work", "beat", "show", "leave")},
    **{
        " ".join(command): words(*command)
        for command in (
            ("BLMOVE",),
            ("INFO",),
            ("PING",),
            ("SCRIPT", "LOAD"),
            ("CLIENT", "ID"),
            ("CLIENT", "UNBLOCK"),
        )
    },
}
"""What a worker process and its heartbeat send."""

AT_THE_START = {"register", "INFO", "PING", "show", "CLIENT ID", "SCRIPT LOAD"}
"""Sent when a process begins."""

NOT_EVERY_TIME = {"reconcile", "CLIENT UNBLOCK", "show_work"}
"""Sent only if the moments fall so."""


def scenario(
    server: Server, proxy: Proxy, client: redis.Redis, trouble: Callable[[], None]
) -> tuple[list[str], Ledger]:
    """A worker's life through the proxy: idle, busy, cut off, idle, told to stop; the jobs and the ledger."""
    ledger = Ledger()
    jids: list[str] = []
    with application(server.url, ledger) as app, Loop(app, proxy.url, "low", "high") as loop:
        trouble()

        def send(number: int, seconds: float = 0.0) -> None:
            jids.append(app.enqueue("work", number, seconds, queue=("low", "high")[number % 2]))

        for number in range(4):  # one at a time: by doorbell
            send(number)
            eventually(lambda: len(ledger.ended) == len(jids), 8.0, "a job that came to an idle process")
        for number in range(20):  # more than fit: by turn, doorbells ended
            send(number, 0.01)
        eventually(lambda: len(ledger.ended) > 10, 8.0)
        proxy.cut()
        for number in range(20):
            send(number, 0.005)
        eventually(lambda: len(ledger.ended) == len(jids), 8.0, "all jobs that came to a busy process")
        send(0)
        eventually(lambda: len(ledger.ended) == len(jids), 8.0, "the last job")
        stage.all_done(client, ledger, jids)
        for _ in range(2):  # whatever its heart sends in one round it has sent when it has beaten in the next
            beaten = loop.board.standing(0)
            eventually(lambda before=beaten: loop.board.standing(0) > before, 4.0, "a beat")  # type: ignore[misc]
        loop.stop()
        assert [entry.identity for entry in loop.entries[1:] if entry.identity != loop.entries[0].identity] == []
    return jids, ledger


def clean(client: redis.Redis, ledger: Ledger, jids: list[str]) -> None:
    """Each job ran once, nothing is anywhere, nobody is shown."""
    assert ledger.runs == Counter(jids)
    assert stage.homes(client) == {}
    assert client.scard("processes") == 0
    assert client.hlen("crashes") == 0


@pytest.mark.parametrize("name", LOOP)
def test_a_reply_to_a_worker_is_lost(name: str, server: Server, proxy: Proxy, redis_client: redis.Redis) -> None:
    """The first, third and ninth reply to one kind of command are lost, then again from a moment drawn by lot."""
    redis_client.script_flush()
    start = random.randrange(1, 12)
    traps: list[Trap] = []

    def set_traps() -> None:
        traps.extend(proxy.drop_reply(nth(LOOP[name], number)) for number in (1, 3, 9, start))

    if name in AT_THE_START:
        set_traps()
        jids, ledger = scenario(server, proxy, redis_client, lambda: None)
    else:
        jids, ledger = scenario(server, proxy, redis_client, set_traps)
    assert name in NOT_EVERY_TIME or any(trap.reply for trap in traps), f"nothing was lost (start {start})"
    clean(redis_client, ledger, jids)


@pytest.mark.parametrize("name", [name for name in LOOP if name not in {"INFO", "PING", "SCRIPT LOAD", "CLIENT ID"}])
def test_a_command_of_a_worker_arrives_when_it_has_left(
    name: str, server: Server, proxy: Proxy, redis_client: redis.Redis
) -> None:
    """The command is kept back, its sender goes on and leaves; then it arrives on the old connection.

    A job that waits then and is taken by it comes back to its queue: one that has left stays in the walk.
    """
    number = 1 if name in {"register", "show", "beat", "leave"} else random.randrange(1, 6)
    traps: list[Trap] = []

    def set_trap() -> None:
        traps.append(proxy.hold(nth(LOOP[name], number)))

    if name in AT_THE_START:
        set_trap()
        jids, ledger = scenario(server, proxy, redis_client, lambda: None)
    else:
        jids, ledger = scenario(server, proxy, redis_client, set_trap)
    clean(redis_client, ledger, jids)
    waiting = [stage.payload(queue=queue) for queue in ("low", "high")]
    for payload, queue in zip(waiting, ("low", "high"), strict=True):
        stage.push(redis_client, payload, queue=queue)
    if traps[0].sprung is not None:
        deliver_if_connected(proxy, traps[0])
    assert name in NOT_EVERY_TIME or traps[0].sprung is not None, f"nothing was held (number {number})"
    with stage.reaping(server.url) as reaper:
        for identity in [member.decode() for member in stage.members(redis_client, "beats")]:
            stage.age_beat(redis_client, identity, 5.0)
        reaper.tick()
    assert stage.stranded(redis_client) == []
    assert stage.homes(redis_client) == Counter(map(jid_of, waiting))
    assert redis_client.hlen("crashes") == 0


def deliver_if_connected(proxy: Proxy, trap: Trap) -> None:
    """Deliver what was held; the server may have been told to close its connection meanwhile."""
    try:
        proxy.deliver(trap, within=0.5)
    except AssertionError:
        assert trap.reply is None


# -- duties


def tick_until(server: Server, duty: Callable[[], object], done: Callable[[], bool]) -> None:
    """Tick as the duty's thread does: what fails is done again."""

    def again() -> bool:
        with suppress(StoreError):
            duty()
        return done()

    eventually(again, 5.0, "the duty gets it done")


REAPER = {
    **{name: script(SHAS[name]) for name in ("overdue", "suspect", "condemn", "reap", "forget")},
    **{command: words(command) for command in ("HGET", "HVALS", "SREM", "DEL", "SMEMBERS")},
    "CLIENT LIST": words("CLIENT", "LIST"),
    "INFO": words("INFO"),
    "SCRIPT LOAD": words("SCRIPT", "LOAD"),
}


@pytest.mark.parametrize("path", ["watch", "shortcut"])
@pytest.mark.parametrize("name", REAPER)
def test_a_reply_to_a_reaper_is_lost(
    name: str, path: str, server: Server, proxy: Proxy, redis_client: redis.Redis
) -> None:
    """Whatever answer is lost, the dead process's jobs come back, each once, each crash counted once."""
    seat = Seat(server.url, "default", "other")
    jobs = [stage.payload(number) for number in range(6)]
    stage.push(redis_client, *jobs[:3])
    stage.push(redis_client, *jobs[3:], queue="other")
    with stage.seats(seat), stage.reaping(proxy.url) as reaper:
        seat.register()
        assert len(seat.claim()) == 6
        seat.own.show_work(seat.identity, {"1": b'{"payload": %s}' % _json(jobs[0])})
        seat.close()
        eventually(lambda: _connections(redis_client) == 1)
        if path == "watch":
            stage.expire(redis_client, seat.identity)
            if name == "SMEMBERS":
                redis_client.hdel("fleet", seat.identity)
        stage.age_beat(redis_client, seat.identity, 0.5)
        redis_client.script_flush()
        trap = proxy.drop_reply(REAPER[name])

        def duty() -> None:
            # The clock and the watch jump so that every tick may reach a verdict.
            clock = reaper._clock
            assert isinstance(clock, stage.HandClock)
            clock.now += 100.0
            if redis_client.hexists("suspects", seat.identity):
                stage.age_watch(redis_client, seat.identity, 9.0, 0.1)
            reaper.tick()

        tick_until(server, duty, lambda: not stage.stranded(redis_client))
        stage.age_beat(redis_client, seat.identity, 3600.0)
        tick_until(server, duty, lambda: not redis_client.zcard("beats"))
    expected = {"watch": {"CLIENT LIST", "INFO"}, "shortcut": {"SMEMBERS"}}[path]
    assert trap.reply is not None or name in expected, "nothing was lost"
    assert stage.homes(redis_client) == Counter(map(jid_of, jobs))
    assert stage.crashes(redis_client) == {jid_of(jobs[0]): 1}
    # in their old order, at the end that is taken next
    assert redis_client.lrange("queue:default", 0, -1) == jobs[2::-1]


def _json(text: bytes) -> bytes:
    return orjson.dumps(text.decode())


def _connections(client: redis.Redis) -> int:
    return len(client.client_list())


PRODUCER: dict[str, Match] = {
    "enqueue": script(SHAS["enqueue"]),
    "schedule": script(SHAS["schedule"]),
    "SCRIPT LOAD": words("SCRIPT", "LOAD"),
}


@pytest.mark.parametrize("name", PRODUCER)
def test_a_reply_to_a_producer_is_lost(name: str, server: Server, proxy: Proxy, redis_client: redis.Redis) -> None:
    """The call is sent again under its old number: applied once."""
    redis_client.script_flush()
    traps = [proxy.drop_reply(nth(PRODUCER[name], number)) for number in (1, 2, 4)]
    with stage.producing(proxy.url) as queue:
        jobs = [stage.payload(number) for number in range(20)]
        for job in jobs[:10]:
            queue.enqueue("default", [job])
        for job in jobs[10:]:
            queue.schedule([(1.0, job)])
    assert traps[0].reply is not None
    assert redis_client.lrange("queue:default", 0, -1) == jobs[9::-1]
    assert stage.homes(redis_client) == Counter(map(jid_of, jobs))


@pytest.mark.parametrize("name", ["enqueue", "schedule"])
def test_a_call_of_a_producer_arrives_late(name: str, server: Server, proxy: Proxy, redis_client: redis.Redis) -> None:
    """The first sending is kept back, the second one succeeds; then the first arrives and adds nothing."""
    trap = proxy.hold(PRODUCER[name])
    job = stage.payload()
    with stage.producing(proxy.url) as queue:
        if name == "enqueue":
            queue.enqueue("default", [job])
        else:
            queue.schedule([(1.0, job)])
        redis_client.delete("queue:default", "schedule")
        proxy.deliver(trap)
    assert stage.homes(redis_client) == {}


PROMOTER: dict[str, Match] = {
    "lease": script(SHAS["lease"]),
    "promote": script(SHAS["promote"]),
    "ZRANGEBYSCORE": words("ZRANGEBYSCORE"),
    "SCRIPT LOAD": words("SCRIPT", "LOAD"),
}


@pytest.mark.parametrize("name", PROMOTER)
def test_a_reply_to_a_promoter_is_lost(name: str, server: Server, proxy: Proxy, redis_client: redis.Redis) -> None:
    """Every due job gets to its queue once."""
    jobs = [stage.payload(number) for number in range(10)]
    redis_client.zadd("schedule", dict.fromkeys(jobs[:5], 1.0))
    redis_client.zadd("retry", dict.fromkeys(jobs[5:], 1.0))
    redis_client.script_flush()
    traps = [proxy.drop_reply(nth(PROMOTER[name], number)) for number in (1, 2)]
    clock = stage.HandClock()
    promoter = Promoter(Store(stage.quick(proxy.url)), clock)

    def duty() -> None:
        clock.now += 10.0
        promoter.tick()

    try:
        tick_until(server, duty, lambda: not redis_client.exists("schedule", "retry"))
    finally:
        promoter.close()
    assert traps[0].reply is not None
    assert stage.homes(redis_client) == Counter(map(jid_of, jobs))


def test_a_promotion_that_arrives_late_promotes_nothing_twice(
    server: Server, proxy: Proxy, redis_client: redis.Redis
) -> None:
    """The batch is kept back, another promoter moves the jobs, one runs; then the first batch arrives."""
    job = stage.payload()
    redis_client.zadd("retry", {job: 1.0})
    trap = proxy.hold(script(SHAS["promote"]))
    store, direct = Store(stage.quick(proxy.url)), Store(stage.quick(server.url))
    slow, quick = store.link("promoter"), direct.link("promoter")
    with pytest.raises(Unreachable):
        Sets(store, slow).promote(2.0)
    assert Sets(direct, quick).promote(2.0) == 1
    redis_client.delete("queue:default")  # it was taken and ran
    proxy.deliver(trap)
    assert stage.homes(redis_client) == {}
    slow.close()
    quick.close()
