"""docs/counterexamples.md 15 and 16: Lua has no rollback, so nothing odd may stop or lose what lies beside it."""

import time
from collections import Counter
from typing import cast

import pytest
import redis

from chaos.eventually import eventually
from chaos.servers import Server
from reliq.errors import BadPayload, Refused
from reliq.job import anonymous_jid, decode, jid_of
from reliq.outcome import Bury, Release, Retry
from reliq.store.opening import Store
from reliq.store.sets import Sets
from tests.counterexamples.stage import (
    Ledger,
    Loop,
    Seat,
    application,
    homes,
    limited,
    members,
    payload,
    push,
    quick,
    recovering,
    seats,
    stranded,
)

DEEP = b'{"class":"work","args":' + b"[" * 1100 + b"]" * 1100 + b',"jid":"deep","queue":"default"}'

ODD: dict[str, bytes] = {
    "no JSON": b"{broken",
    "empty": b"",
    "a number": b"5",
    "null": b"null",
    "a list": b'["work"]',
    "no class": b'{"args":[],"jid":"abc","queue":"default"}',
    "no jid": b'{"class":"work","args":[1],"queue":"default"}',
    "jid null": b'{"class":"work","args":[1],"jid":null,"queue":"default"}',
    "jid number": b'{"class":"work","args":[1],"jid":7,"queue":"default"}',
    "jid empty": b'{"class":"work","args":[1],"jid":"","queue":"default"}',
    "jid twice": b'{"class":"work","args":[1],"jid":"a","jid":"b","queue":"default"}',
    "too deep for cjson": DEEP,
    "lone surrogate": b'{"class":"work","args":["\\ud800"],"jid":"lone","queue":"default"}',
    "no UTF-8": b'{"class":"work","args":["\xff"],"jid":"utf","queue":"default"}',
    "NUL": b'{"class":"work","args":["a\\u0000b"],"jid":"nul","queue":"default"}\x00',
    "NaN": b'{"class":"work","args":[NaN],"jid":"nan","queue":"default"}',
    "300 digits": b'{"class":"work","args":[%s],"jid":"big","queue":"default"}' % (b"7" * 300),
    "queue a number": b'{"class":"work","args":[],"jid":"q","queue":5}',
    "no queue": b'{"class":"work","args":[1],"jid":"noq"}',
    "braces": b'{"class":"work","args":[1],"jid":"br","queue":"a{b}c"}',
}


def can_run(text: bytes) -> bool:
    """Whether a worker can read it; what cannot be read never starts, and is never charged with a crash."""
    try:
        decode(text)
    except BadPayload:
        return False
    return True


@pytest.mark.parametrize("name", ODD)
def test_16_an_odd_payload_does_not_stop_a_sweep(name: str, server: Server, redis_client: redis.Redis) -> None:
    """Case 16: between two jobs of a dead process; all three come back, byte for byte and in order."""
    odd, before, after = ODD[name], payload(1), payload(2)
    push(redis_client, before, odd, after)
    seat = Seat(server.url).register()
    with seats(seat), recovering(server.url) as recovery:
        assert len(seat.claim()) == 3
        recovery.child_died(seat.entry, seat.beat(), [jid_of(before)], "was killed")
    assert redis_client.lrange("queue:default", 0, -1) == [after, odd, before]
    assert redis_client.hkeys("crashes") == [jid_of(before).encode()]
    assert not stranded(redis_client)


@pytest.mark.parametrize("name", [name for name, text in ODD.items() if can_run(text)])
def test_16_the_crashes_of_an_odd_payload_are_counted(name: str, server: Server, redis_client: redis.Redis) -> None:
    """Case 16: worker and sweep call it by one name, or it would kill for ever: queue, quarantine, buried."""
    odd, jid = ODD[name], jid_of(ODD[name])
    push(redis_client, odd)
    for home in ("queue:default", "quarantine:default"):
        _crash(server, jid)
        assert redis_client.lrange(home, 0, -1) == [odd]
        if home != "queue:default":
            redis_client.lmove(home, "queue:default", "RIGHT", "RIGHT")
    _crash(server, jid)
    (buried,) = members(redis_client, "dead")
    assert buried == odd or buried.startswith(odd[:-1])
    assert redis_client.hlen("crashes") == 0
    assert sum(homes(redis_client).values()) == 1


def _crash(server: Server, jid: str) -> None:
    seat = Seat(server.url).register()
    with seats(seat), recovering(server.url) as recovery:
        assert len(seat.claim()) == 1
        recovery.child_died(seat.entry, seat.beat(), [jid], "was killed")


@pytest.mark.parametrize("source", ["schedule", "retry"])
def test_16_a_member_that_cannot_be_read_does_not_stop_the_promoter(
    source: str, server: Server, redis_client: redis.Redis
) -> None:
    """Case 16: every due job gets to its queue; what has none, or cannot be read, is buried with the reason."""
    good = [payload(number) for number in range(5)]
    redis_client.zadd(source, {member: 1.0 + at for at, member in enumerate([*ODD.values(), *good])})
    store = Store(quick(server.url))
    link = store.link("sets")
    sets = Sets(store, link)
    moved = sets.promote(1e9)
    assert moved == len(ODD) + len(good)
    assert not redis_client.exists(source)
    queued = cast("list[bytes]", redis_client.lrange("queue:default", 0, -1))
    assert set(map(jid_of, good)) <= set(map(jid_of, queued))
    everywhere = sum(redis_client.llen(key) for key in redis_client.scan_iter("queue:*")) + redis_client.zcard("dead")
    assert everywhere == len(ODD) + len(good)
    # What a script of another language wrote is still there, letter by letter.
    big = next(text for text in queued if b"7" * 300 in text)
    assert b'"args":[%s]' % (b"7" * 300) in big
    link.close()


def test_16_a_batch_is_bounded_by_bytes_and_count(server: Server, redis_client: redis.Redis) -> None:
    """Case 16 and 24: a claim, a sweep and a promotion take about a MiB at a time; no job is too large."""
    large = [b'{"class":"work","args":["%s"],"jid":"%d","queue":"default"}' % (b"x" * 400_000, n) for n in range(8)]
    push(redis_client, *large)
    seat = Seat(server.url).register()
    with seats(seat):
        assert len(seat.claim(100)) == 3
        assert len(seat.claim(100)) == 3
        redis_client.set(f"heartbeat:{seat.identity}", "fenced", px=1000)
        assert seat.life.reap(seat.entry, [], "died").total == 6
    assert redis_client.lrange("queue:default", 0, -1) == large[::-1]
    redis_client.delete("queue:default")
    redis_client.zadd("retry", {job: float(at) for at, job in enumerate(large)})
    store = Store(quick(server.url))
    link = store.link("sets")
    sets = Sets(store, link)
    steps = []
    while moved := sets.promote(1e9):
        steps.append(moved)
    assert sum(steps) == 8
    assert max(steps) <= 3
    link.close()


def test_16_a_key_of_the_wrong_type_loses_no_job(server: Server, redis_client: redis.Redis) -> None:
    """Case 16: an error in the middle of a script leaves every job in one place."""
    job = payload()
    push(redis_client, job)
    redis_client.set("dead", "not a sorted set")
    seat = Seat(server.url).register()
    with seats(seat):
        (claim,) = seat.claim()
        with pytest.raises(Refused) as refusal:
            seat.settle(claim, outcome=Bury(job, "x"))
        assert refusal.value.code == "WRONGTYPE"
        assert redis_client.lrange(seat.private(), 0, -1) == [job]
    redis_client.delete("dead")


def test_16_odd_payloads_pass_through_a_whole_worker(server: Server, redis_client: redis.Redis) -> None:
    """Case 16 and promise 10: nothing loops, nothing is lost: run, retried or buried with a reason."""
    ledger = Ledger()
    odd = [text for name, text in ODD.items() if name != "too deep for cjson"]
    push(redis_client, *odd)
    with application(server.url, ledger) as app, Loop(app, server.url) as loop:
        assert loop.identity
        eventually(lambda: not redis_client.exists("queue:default") and not stranded(redis_client))
        jid = app.enqueue("work", 1)
        eventually(lambda: jid in ledger.ended)
    ran = len(ledger.began) - 1
    assert ran + redis_client.zcard("dead") + redis_client.zcard("retry") == len(odd)
    assert max(ledger.runs.values()) == 1
    for text in members(redis_client, "dead"):
        assert text in odd or b'"error_message"' in text


# -- 15: removed is not kept


def test_15_an_unknown_name_is_retried_for_a_deploy_before_it_is_buried(
    server: Server, redis_client: redis.Redis
) -> None:
    """Case 15: a rolling deploy that adds a job name: no backlog of it is buried, let alone trimmed."""
    ledger = Ledger()
    jobs = [payload(number).replace(b'"work"', b'"NotYet"') for number in range(50)]
    push(redis_client, *jobs)
    with application(server.url, ledger) as app, Loop(app, server.url) as loop:
        assert loop.identity
        eventually(lambda: redis_client.zcard("retry") == len(jobs))
        assert not redis_client.exists("dead")
        assert homes(redis_client) == Counter(map(jid_of, jobs))


def test_15_what_falls_to_the_limits_of_the_dead_set_is_counted(
    server: Server, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """Case 15: trimmed from dead, counted and logged."""
    jobs = [payload(number) for number in range(7)]
    push(redis_client, *jobs)
    seat = Seat(server.url, config=quick(server.url, dead_limit=4)).register()
    with seats(seat):
        claims = seat.claim()
        for claim in claims:
            seat.settle(claim, outcome=Bury(claim.payload, "x"))
    assert redis_client.zcard("dead") == 4
    assert redis_client.get("stat:trimmed") == b"3"
    assert "dead jobs were dropped" in caplog.text


def test_16_a_payload_without_an_id_has_one_all_the_same() -> None:
    """Case 16: the SHA-1 of its bytes."""
    assert jid_of(b"5") == anonymous_jid(b"5") == "ac3478d69a3c81fa62e60f5c3696165a4e5e6ac4"


@pytest.mark.parametrize("right", ["lmove", "lrange", "ltrim", "lpush", "rpush", "lpos", "zadd"])
def test_16_who_may_not_do_all_of_a_turn_loses_and_doubles_nothing(
    server: Server, redis_client: redis.Redis, right: str
) -> None:
    """Case 16: refused by an ACL in the middle of moving many, of handing back, of writing down a failure."""
    held, waiting = [payload(number) for number in range(20)], [payload(number) for number in range(20, 60)]
    seat = Seat(limited(redis_client, server.socket, without="")).register()
    with seats(seat):
        push(redis_client, *held)
        claims = seat.claim(20)
        push(redis_client, *waiting)
        limited(redis_client, server.socket, without=f"-{right}")
        endings = [
            seat.ending(claims[1], Release()),
            seat.ending(claims[2], Retry(time.time() + 60.0, claims[2].payload, "failed")),
            *map(seat.ending, claims[4:]),
        ]
        with pytest.raises(Refused):
            seat.fetch.exchange(endings, seat.limits(30))
        found = homes(redis_client)
        assert set(found.values()) == {1}
        assert {jid_of(job) for job in (*held[:4], *waiting)} <= found.keys()
    redis_client.acl_deluser("limited")
