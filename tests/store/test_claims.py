"""reliq.store.claims: turns, what a process holds, and doorbells."""

import selectors
import time
from collections.abc import Iterator

import pytest
import redis

from chaos.eventually import eventually
from chaos.proxy import Proxy, script
from chaos.servers import Server
from reliq.errors import Refused, StoreError, Unreachable
from reliq.outcome import Bury, Done, Drop, Outcome, Release, Retry
from reliq.store.claims import Claim, Condemned, Doorbell, Ending, Holding, Portion
from reliq.store.connection import Link
from reliq.store.opening import Store
from reliq.store.queue import Queue
from reliq.store.scripts import Library
from tests.store.conftest import OpenStore

ID = "web:7:0123456789ab"
MAIL, LOW = 0, 1
NOW = 1700000000.25
TURN, RECONCILE = Library.load().shas["turn"], Library.load().shas["reconcile"]


@pytest.fixture
def holding(store: Store) -> Holding:
    """What the process under test holds."""
    return Holding(store, ID, ["mail", "low"])


@pytest.fixture
def far_link(proxy: Proxy, open_store: OpenStore) -> Iterator[Link]:
    """A connection through the proxy."""
    link = open_store(proxy.url).link("far")
    yield link
    link.close()


def push(client: redis.Redis, queue: str, *payloads: str) -> None:
    """Enqueue."""
    client.lpush(f"queue:{queue}", *payloads)


def claim(payload: str, place: int = MAIL) -> Claim:
    """A claim of the process under test."""
    return Claim(payload.encode(), place, ID)


def most(number: int, *places: int) -> dict[int, Portion]:
    """These places in this order, each up to this number."""
    return {place: Portion(0, number) for place in places}


def ending(payload: str, outcome: Outcome, place: int = MAIL) -> Ending:
    """How a claim ended; the payload's name is its id."""
    return Ending(claim(payload, place), outcome, payload)


def held(client: redis.Redis, queue: str = "mail") -> list[bytes | str]:
    """The private list, newest first."""
    return client.lrange(f"private:{ID}:{queue}", 0, -1)


# -- turns


def test_a_turn_claims_in_the_order_it_is_given(holding: Holding, link: Link, redis_client: redis.Redis) -> None:
    push(redis_client, "mail", "m1", "m2")
    push(redis_client, "low", "l1", "l2")
    first = holding.turn(link, [], most(3, LOW, MAIL), 3, NOW)
    assert first.claims == [claim("l1", LOW), claim("l2", LOW), claim("m1")]
    assert (first.emptied, first.paused, first.held, first.refused, first.trimmed) == ([LOW], [], [1, 2], [], 0)
    second = holding.turn(link, [], most(9, MAIL, LOW), 9, NOW)
    assert second.claims == [claim("m2")]
    assert (second.emptied, second.held) == ([MAIL, LOW], [2, 2])
    assert held(redis_client) == [b"m2", b"m1"]


def test_a_paused_queue_is_neither_claimed_from_nor_seen_empty(
    holding: Holding, link: Link, redis_client: redis.Redis
) -> None:
    push(redis_client, "mail", "m1")
    redis_client.sadd("paused", "mail")
    turned = holding.turn(link, [], most(9, MAIL, LOW), 9, NOW)
    assert (turned.claims, turned.emptied, turned.paused) == ([], [LOW], [MAIL])


def test_every_way_to_end_a_claim(holding: Holding, link: Link, redis_client: redis.Redis) -> None:
    push(redis_client, "mail", "a", "b", "c", "d", "e")
    push(redis_client, "low", "f")
    assert len(holding.turn(link, [], most(9, MAIL, LOW), 9, NOW).claims) == 6
    endings = [
        ending("a", Release()),
        ending("b", Done()),
        ending("c", Retry(NOW + 20.5, b"C", "no")),
        ending("d", Bury(b"D", "no")),
        ending("e", Drop("no")),
        ending("f", Done(), LOW),
    ]
    turned = holding.turn(link, endings, {}, 0, NOW)
    assert (turned.refused, turned.held) == ([], [0, 0])
    assert redis_client.lrange("queue:mail", 0, -1) == [b"a"]
    assert redis_client.zrange("retry", 0, -1, withscores=True) == [(b"C", NOW + 20.5)]
    assert redis_client.zrange("dead", 0, -1, withscores=True) == [(b"D", NOW)]
    assert redis_client.mget("stat:processed", "stat:failed") == [b"5", b"3"]
    assert redis_client.mget("stat:processed:2023-11-14", "stat:failed:2023-11-14") == [b"5", b"3"]


def test_refused_endings_are_those_that_removed_nothing(
    holding: Holding, link: Link, redis_client: redis.Redis
) -> None:
    redis_client.rpush(f"private:{ID}:mail", "b", "d")
    gone = [ending("a", Drop("no")), ending("c", Done()), ending("e", Retry(NOW, b"E", "no"))]
    turned = holding.turn(link, [gone[0], ending("b", Done()), gone[1], ending("d", Release()), gone[2]], {}, 0, NOW)
    assert sorted(turned.refused, key=lambda one: one.jid) == gone
    assert redis_client.exists("retry") == 0
    assert redis_client.get("stat:processed") == b"1"


def test_the_dead_set_is_kept_within_its_limits(open_store: OpenStore, link: Link, redis_client: redis.Redis) -> None:
    holding = Holding(open_store(dead_limit=2, dead_for=100.0), ID, ["mail"])
    redis_client.zadd("dead", {"old": NOW - 101, "x": NOW - 99, "y": NOW - 1})
    redis_client.rpush(f"private:{ID}:mail", "a")
    assert holding.turn(link, [ending("a", Bury(b"A", "no"))], {}, 0, NOW).trimmed == 2
    assert redis_client.zrange("dead", 0, -1) == [b"y", b"A"]
    assert redis_client.get("stat:trimmed") == b"2"


def test_a_worker_of_the_quarantine_claims_and_releases_there(
    store: Store, link: Link, redis_client: redis.Redis
) -> None:
    holding = Holding(store, ID, ["mail"], quarantine=True)
    redis_client.rpush("quarantine:mail", "b", "a")
    push(redis_client, "mail", "other")
    assert holding.turn(link, [], most(1, 0), 1, NOW).claims == [claim("a")]
    holding.turn(link, [ending("a", Release())], {}, 0, NOW)
    assert redis_client.lrange("quarantine:mail", 0, -1) == [b"b", b"a"]
    assert redis_client.llen("queue:mail") == 1


def test_a_condemned_process_neither_turns_nor_reconciles(
    holding: Holding, link: Link, redis_client: redis.Redis
) -> None:
    redis_client.set(f"heartbeat:{ID}", "fenced", px=60_000)
    push(redis_client, "mail", "a")
    with pytest.raises(Condemned):
        holding.turn(link, [], most(9, MAIL), 9, NOW)
    with pytest.raises(Condemned):
        holding.reconcile(link)
    assert redis_client.exists(f"turn:{ID}", f"private:{ID}:mail") == 0


# -- turn numbers


def test_a_number_that_is_not_newer_is_refused(holding: Holding, link: Link, redis_client: redis.Redis) -> None:
    holding.turn(link, [], {}, 0, NOW)
    push(redis_client, "mail", "a")
    twin = Holding(holding.store, ID, holding.queues)
    with pytest.raises(StoreError, match="turn 1 was refused, 1 was the last one"):
        twin.turn(link, [], most(9, MAIL), 9, NOW)
    assert redis_client.llen("queue:mail") == 1


def test_a_turn_whose_reply_was_lost_is_found_applied(
    holding: Holding, far_link: Link, link: Link, proxy: Proxy, redis_client: redis.Redis
) -> None:
    push(redis_client, "mail", "a", "b")
    holding.turn(far_link, [], most(1, MAIL), 1, NOW)
    proxy.drop_reply(script(TURN))
    with pytest.raises(Unreachable):
        holding.turn(far_link, [ending("a", Done())], most(1, MAIL), 1, NOW)
    lost = holding.number
    assert holding.reconcile(link) == (lost, [[b"b"], []])
    assert holding.turn(link, [ending("b", Done())], most(1, MAIL), 1, NOW).refused == []
    assert redis_client.get("stat:processed") == b"2"


def test_a_turn_that_did_not_arrive_is_shut_out(
    holding: Holding, far_link: Link, link: Link, proxy: Proxy, redis_client: redis.Redis
) -> None:
    push(redis_client, "mail", "a", "b")
    holding.turn(far_link, [], most(1, MAIL), 1, NOW)
    known = holding.number
    trap = proxy.hold(script(TURN))
    with pytest.raises(Unreachable):
        holding.turn(far_link, [ending("a", Done())], most(1, MAIL), 1, NOW)
    assert holding.reconcile(link) == (known, [[b"a"], []])
    assert b"stale" in proxy.deliver(trap)
    assert held(redis_client) == [b"a"]
    turned = holding.turn(link, [ending("a", Done())], most(1, MAIL), 1, NOW)
    assert (turned.refused, turned.claims) == ([], [claim("b")])


@pytest.mark.parametrize("applied", [True, False])
def test_to_reconcile_can_fail_and_be_repeated(
    applied: bool, holding: Holding, far_link: Link, proxy: Proxy, redis_client: redis.Redis
) -> None:
    push(redis_client, "mail", "a", "b")
    holding.turn(far_link, [], most(1, MAIL), 1, NOW)
    known = holding.number
    trap = proxy.drop_reply(script(TURN)) if applied else proxy.hold(script(TURN))
    with pytest.raises(Unreachable):
        holding.turn(far_link, [ending("a", Done())], most(1, MAIL), 1, NOW)
    lost = holding.number
    for _ in range(2):
        proxy.drop_reply(script(RECONCILE))
        with pytest.raises(Unreachable):
            holding.reconcile(far_link)
    last, lists = holding.reconcile(far_link)
    assert (last, lists) == ((lost, [[b"b"], []]) if applied else (known, [[b"a"], []]))
    if not applied:
        assert b"stale" in proxy.deliver(trap)


def test_a_full_server_drains(holding: Holding, link: Link, server: Server, redis_client: redis.Redis) -> None:
    push(redis_client, "mail", "a", "b")
    server.config(maxmemory=1)
    try:
        assert holding.turn(link, [], most(9, MAIL), 9, NOW).claims == [claim("a"), claim("b")]
        endings = [ending("a", Done()), ending("b", Retry(NOW, b"B", "no"))]
        assert holding.turn(link, endings, most(9, MAIL), 9, NOW).refused == []
        assert holding.reconcile(link) == (2, [[], []])
    finally:
        server.config(maxmemory=0)


# -- doorbells


@pytest.fixture
def doorbell(holding: Holding) -> Iterator[Doorbell]:
    """The doorbell of the queue mail."""
    bell = Doorbell(holding, MAIL)
    yield bell
    bell.link.close()


def waits(client: redis.Redis, count: int = 1) -> bool:
    """Whether so many clients wait in the server."""
    return bool(client.info("clients")["blocked_clients"] == count)


def rings(bell: Doorbell, within: float) -> bool:
    """Whether there is an answer within so many seconds."""
    with selectors.DefaultSelector() as selector:
        selector.register(bell, selectors.EVENT_READ)
        return bool(selector.select(within))


def test_a_doorbell_rings_for_the_next_job(
    doorbell: Doorbell, holding: Holding, link: Link, redis_client: redis.Redis
) -> None:
    doorbell.arm()
    eventually(lambda: waits(redis_client))
    assert not rings(doorbell, 0)
    push(redis_client, "mail", "a")
    assert rings(doorbell, 5)
    assert doorbell.answer() == claim("a")
    assert held(redis_client) == [b"a"]
    assert holding.turn(link, [], most(9, MAIL), 9, NOW).held == [1, 0]


def test_a_doorbell_takes_a_waiting_job_from_the_right_end(doorbell: Doorbell, redis_client: redis.Redis) -> None:
    push(redis_client, "mail", "a", "b")
    redis_client.lpush(f"private:{ID}:mail", "held")
    doorbell.arm()
    assert doorbell.answer() == claim("a")
    assert held(redis_client) == [b"a", b"held"]


def test_a_doorbell_gives_up_after_its_time_and_can_be_armed_again(
    doorbell: Doorbell, redis_client: redis.Redis
) -> None:
    began = time.monotonic()
    doorbell.arm()
    assert doorbell.answer() is None
    # A quarter of the TTL
    assert 0.2 <= time.monotonic() - began < 0.9
    doorbell.arm()
    push(redis_client, "mail", "a")
    assert doorbell.answer() == claim("a")


def test_an_ended_doorbell_answers_that_there_is_nothing(
    doorbell: Doorbell, link: Link, redis_client: redis.Redis
) -> None:
    doorbell.arm()
    eventually(lambda: waits(redis_client))
    assert doorbell.end(link)
    assert rings(doorbell, 5)
    assert doorbell.answer() is None
    push(redis_client, "mail", "a")
    assert (redis_client.llen("queue:mail"), held(redis_client)) == (1, [])
    doorbell.arm()
    assert doorbell.answer() == claim("a")


def test_a_job_that_came_before_the_end_is_answered(doorbell: Doorbell, link: Link, redis_client: redis.Redis) -> None:
    doorbell.arm()
    eventually(lambda: waits(redis_client))
    push(redis_client, "mail", "a")
    assert doorbell.end(link)
    assert doorbell.answer() == claim("a")


def test_ringing_and_ending_at_the_same_time_loses_nothing(
    doorbell: Doorbell, store: Store, link: Link, redis_client: redis.Redis
) -> None:
    """Either the job is answered, or it still waits."""
    queue = Queue(store)
    for number in range(200):
        payload = b"%d" % number
        doorbell.arm()
        link.send("CLIENT", "UNBLOCK", doorbell.link.client_id or 0, "TIMEOUT")
        queue.enqueue("mail", [payload])
        link.receive()
        answer = doorbell.answer()
        waiting = redis_client.lpop("queue:mail")
        assert (answer.payload if answer else None, waiting) in [(payload, None), (None, payload)]
        redis_client.delete(f"private:{ID}:mail")
    queue.close()


def test_the_end_of_one_that_was_never_armed_is_harmless(
    doorbell: Doorbell, link: Link, redis_client: redis.Redis
) -> None:
    assert doorbell.end(link)
    push(redis_client, "mail", "a")
    doorbell.arm()
    assert doorbell.answer() == claim("a")
    assert doorbell.end(link)


def test_where_the_end_is_refused_it_says_so(
    doorbell: Doorbell, server: Server, open_store: OpenStore, redis_client: redis.Redis
) -> None:
    redis_client.acl_setuser("weak", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-client"])
    try:
        weak = open_store(f"unix://weak:x@{server.socket}")
        link = weak.link("weak")
        doorbell.arm()
        assert not doorbell.end(link)
        assert doorbell.answer() is None
        bell = Doorbell(Holding(weak, ID, ["mail"]), MAIL)
        bell.arm()
        push(redis_client, "mail", "a")
        assert bell.answer() == claim("a")
        bell.link.close()
        link.close()
    finally:
        redis_client.acl_deluser("weak")


def test_a_full_server_refuses_the_doorbell(doorbell: Doorbell, server: Server, redis_client: redis.Redis) -> None:
    push(redis_client, "mail", "a")
    server.config(maxmemory=1)
    try:
        doorbell.arm()
        with pytest.raises(Refused) as caught:
            doorbell.answer()
    finally:
        server.config(maxmemory=0)
    assert caught.value.code == "OOM"
    doorbell.arm()
    assert doorbell.answer() == claim("a")


def test_a_doorbell_whose_connection_breaks_says_so(
    proxy: Proxy, open_store: OpenStore, redis_client: redis.Redis
) -> None:
    bell = Doorbell(Holding(open_store(proxy.url), ID, ["mail"]), MAIL)
    bell.arm()
    eventually(lambda: waits(redis_client))
    proxy.cut()
    assert rings(bell, 5)
    with pytest.raises(Unreachable):
        bell.answer()
    eventually(lambda: waits(redis_client, 0))
    bell.link.close()
