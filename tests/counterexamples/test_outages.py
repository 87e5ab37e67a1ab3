"""docs/counterexamples.md 1 to 5: an outage of Redis, of any kind, kills nobody.

The watch over a missing heartbeat lives in Redis TIME; the tests move it there, and freeze a reaper by not ticking it.
"""

from collections import Counter

import pytest
import redis

from chaos.eventually import eventually
from chaos.proxy import Proxy
from chaos.servers import Server
from reliq.config import Config
from reliq.errors import Refused, StoreError
from reliq.job import jid_of
from reliq.outcome import Bury, Drop, Release, Retry
from reliq.server.heartbeat import Heartbeat
from reliq.server.promoter import Promoter
from reliq.store.opening import Store
from reliq.store.processes import Evidence
from reliq.store.sets import Sets
from tests.conftest import FreshServer
from tests.counterexamples.stage import (
    HandClock,
    Ledger,
    Loop,
    Seat,
    age_beat,
    age_watch,
    all_done,
    application,
    condemned,
    expire,
    homes,
    limited,
    payload,
    producing,
    push,
    quick,
    reaping,
    seats,
    stranded,
)

# -- 1: an outage longer than the TTL


def test_1_after_an_outage_a_process_goes_on_under_its_identity(server: Server, redis_client: redis.Redis) -> None:
    """Case 1: claims, finishes, all heartbeats expire, Redis is back: it beats, settles, and nobody reaps it."""
    seat, jobs = Seat(server.url).register(), [payload(1), payload(2)]
    push(redis_client, *jobs)
    with seats(seat), reaping(server.url) as reaper:
        first, second = seat.claim()
        expire(redis_client, seat.identity)
        age_beat(redis_client, seat.identity, 30.0)
        reaper.tick()
        assert not condemned(redis_client, seat.identity)
        seat.settle(first)  # settling needs no standing
        seat.beat()
        reaper.tick()
        seat.settle(second)
        assert redis_client.get("stat:processed") == b"2"
        assert homes(redis_client) == {}
        assert redis_client.hlen("suspects") == 0


def test_1_a_running_process_keeps_its_jobs_over_an_outage(server: Server, redis_client: redis.Redis) -> None:
    """Case 1: a whole loop with jobs that run while Redis is away for longer than the TTL, and a reaper beside it."""
    ledger = Ledger()
    with (
        Proxy(server.socket) as proxy,
        application(server.url, ledger) as app,
        Loop(app, proxy.url) as loop,
        reaping(server.url) as reaper,
    ):
        identity = loop.identity
        jids = [app.enqueue("work", number, 0.4) for number in range(5)]
        eventually(lambda: len(ledger.began) == 3)
        proxy.refuse()
        proxy.cut()
        eventually(lambda: len(ledger.ended) == 3)
        eventually(lambda: not redis_client.exists(f"heartbeat:{identity}"), why="the heartbeat runs out")
        reaper.tick()
        proxy.accept()
        all_done(redis_client, ledger, jids)
        reaper.tick()
        assert {entry.identity for entry in loop.entries} == {identity}
        assert not condemned(redis_client, identity)


# -- 2: marks that are only a time


def test_2_a_second_outage_starts_the_watch_over(server: Server, redis_client: redis.Redis) -> None:
    """Case 2 [outage-twice]: marked after the first outage, a second one; the first reaper to connect waits again."""
    seat = Seat(server.url).register()
    push(redis_client, payload())
    with seats(seat), reaping(server.url) as reaper:
        seat.claim()
        expire(redis_client, seat.identity)
        age_beat(redis_client, seat.identity, 30.0)
        reaper.tick()
        age_watch(redis_client, seat.identity, first=20.0, last=10.0)
        reaper.tick()
        assert not condemned(redis_client, seat.identity)
        seat.beat()
        assert len(seat.claim()) == 0
        assert redis_client.llen(seat.private()) == 1


@pytest.mark.parametrize(("beat", "ttl"), [(0.2, 1.0), (0.5, 4.0), (1.0, 10.0), (3.0, 20.0)])
def test_2_a_gap_of_more_than_two_beats_starts_the_watch_over(
    server: Server, redis_client: redis.Redis, beat: float, ttl: float
) -> None:
    """Case 2: whatever the beat is. Nobody could look for more than two beats: then nobody could beat, either.

    The gap that is forgiven must be shorter than the time of confirmation, or one outage would be enough.
    """
    config = quick(server.url, beat=beat, ttl=ttl)
    seat = Seat(server.url, config=config).register()
    with seats(seat):
        expire(redis_client, seat.identity)
        confirm = config.confirm_after
        age_watch(redis_client, seat.identity, first=confirm + 5.0, last=max(2 * beat + 0.1, confirm * 0.9))
        dead, _ = seat.life.condemn(seat.identity, Evidence.WATCH)
        assert not dead
        assert seat.life.suspect(seat.identity).watched_ms == 0


def test_2_a_mark_that_was_left_over_counts_for_nothing(server: Server, redis_client: redis.Redis) -> None:
    """Case 2: an old blip's mark, that no reaper cleared: a beat deletes it, and without one its age does."""
    seat = Seat(server.url).register()
    with seats(seat), reaping(server.url) as reaper:
        age_watch(redis_client, seat.identity, first=3600.0, last=0.01)
        seat.beat()
        assert redis_client.hlen("suspects") == 0
        age_watch(redis_client, seat.identity, first=3600.0, last=1800.0)
        expire(redis_client, seat.identity)
        age_beat(redis_client, seat.identity, 30.0)
        reaper.tick()
        assert not condemned(redis_client, seat.identity)


def test_2_a_reaper_that_was_frozen_between_look_and_verdict_decides_nothing(
    server: Server, redis_client: redis.Redis
) -> None:
    """Case 2 [outage-freeze]: it has seen enough, freezes, Redis goes away and comes back; its verdict is refused."""
    seat = Seat(server.url).register()
    with seats(seat):
        expire(redis_client, seat.identity)
        seat.life.suspect(seat.identity)
        age_watch(redis_client, seat.identity, first=10.0, last=0.0)
        assert seat.life.suspect(seat.identity).watched_ms > 9000  # that is what the reaper remembers
        # frozen: the process beats, and its heartbeat expires again in a second outage
        seat.beat()
        expire(redis_client, seat.identity)
        assert seat.life.condemn(seat.identity, Evidence.WATCH) == (False, "")
        # or everything stands still meanwhile
        age_watch(redis_client, seat.identity, first=60.0, last=50.0)
        assert seat.life.condemn(seat.identity, Evidence.WATCH) == (False, "")
        # or the process is alive at this very moment
        age_watch(redis_client, seat.identity, first=10.0, last=0.0)
        redis_client.set(f"heartbeat:{seat.identity}", 7, px=1000)
        assert seat.life.condemn(seat.identity, Evidence.WATCH) == (False, "7")
        assert not condemned(redis_client, seat.identity)


def test_2_a_clock_that_steps_starts_the_watch_over(server: Server, redis_client: redis.Redis) -> None:
    """Case 2: forward is a gap; backward, the last look lies in the future."""
    seat = Seat(server.url).register()
    with seats(seat):
        for first, last in ((-3600.0, -3600.0), (3600.0, 3600.0), (10.0, -5.0)):
            expire(redis_client, seat.identity)
            age_watch(redis_client, seat.identity, first, last)
            assert seat.life.suspect(seat.identity).watched_ms == 0, (first, last)


def test_2_one_that_is_watched_without_a_gap_is_condemned(server: Server, redis_client: redis.Redis) -> None:
    """And it must be possible: absent, watched for long enough, looked at just now."""
    seat, job = Seat(server.url).register(), payload()
    push(redis_client, job)
    with seats(seat), reaping(server.url) as reaper:
        seat.claim()
        expire(redis_client, seat.identity)
        age_beat(redis_client, seat.identity, 30.0)
        reaper.tick()
        age_watch(redis_client, seat.identity, first=10.0, last=0.1)
        reaper.tick()
        assert condemned(redis_client, seat.identity)
    assert redis_client.lrange("queue:default", 0, -1) == [job]


def test_2_confirm_is_never_shorter_than_what_a_living_process_needs_to_beat_again() -> None:
    """Case 2: configuration refuses less."""
    from reliq.errors import ConfigError

    least = Config().least_confirm
    assert least == Config().connect_timeout + Config().command_timeout + Config().longest_backoff + Config().beat
    with pytest.raises(ConfigError):
        Config(confirm=least - 0.01)


# -- 3: the shortcut


def test_3_a_restart_of_redis_condemns_nobody(fresh_server: FreshServer) -> None:
    """Case 3: all connections gone, two beats missed, the TTL not over; ids start again: the run is another one."""
    server = fresh_server(durable=True)
    clock = HandClock()
    with server.client() as client:
        seat = Seat(server.url, config=quick(server.url, ttl=60.0)).register()
        other = Seat(server.url, config=quick(server.url, ttl=60.0)).register()
        with seats(seat, other), reaping(server.url, clock, ttl=60.0) as reaper:
            reaper.tick()
            server.restart()
            for _ in range(5):
                clock.now += 100.0
                for one in (seat, other):
                    age_beat(client, one.identity, 20.0)
                try:
                    reaper.tick()
                except StoreError:
                    continue  # its own connection was cut, too
            assert not condemned(client, seat.identity)
            # Even if the number of the old connection is somebody else's, or nobody's, in the new run.
            seat.life.link.close()
            seat.beat()
            assert client.get(f"heartbeat:{seat.identity}") not in (None, b"fenced")


def test_3_the_shortcut_needs_a_reaper_that_had_answers_all_the_time(server: Server, redis_client: redis.Redis) -> None:
    """Case 3: Redis was away for everybody; connections are gone, the run is the same; the first to connect waits."""
    clock = HandClock()
    seat = Seat(server.url, config=quick(server.url, ttl=60.0)).register()
    with seats(seat), reaping(server.url, clock, ttl=60.0) as reaper:
        seat.close()
        eventually(lambda: len(redis_client.client_list()) == 1, why="the connections are gone")
        age_beat(redis_client, seat.identity, 5.0)
        least = quick(server.url).least_confirm  # in which everybody alive has beaten again
        assert least < 5.0
        reaper.tick()  # its first answer
        clock.now += 0.9 * least
        reaper.tick()
        assert not condemned(redis_client, seat.identity)
        clock.now += 0.2 * least
        reaper.tick()
        assert condemned(redis_client, seat.identity)


def test_3_an_error_in_between_ends_the_time_of_answers(
    server: Server, proxy: Proxy, redis_client: redis.Redis
) -> None:
    """Case 3: the reaper itself was cut off in the meantime."""
    clock = HandClock()
    seat = Seat(server.url, config=quick(server.url, ttl=60.0)).register()
    with seats(seat), reaping(proxy.url, clock, ttl=60.0) as reaper:
        seat.close()
        eventually(lambda: len(redis_client.client_list()) == 1)
        reaper.tick()
        clock.now += 100.0
        proxy.cut()
        with pytest.raises(StoreError):
            reaper.tick()
        age_beat(redis_client, seat.identity, 5.0)
        reaper.tick()
        assert not condemned(redis_client, seat.identity)


def test_17_a_server_that_refuses_writes_gives_no_answers(fresh_server: FreshServer) -> None:
    """Case 17: Redis is read-only for a while: reads are answered, no beat is taken, all connections are given up.

    When it takes writes again, whoever looks first must not take that for two missed beats of a dead process.
    """
    server = fresh_server()
    seat = Seat(server.url).register()
    clock = HandClock()
    with seats(seat), server.client() as client, reaping(server.url, clock) as reaper:
        push(client, payload())
        seat.claim()
        reaper.tick()
        clock.now += 60.0
        age_beat(client, seat.identity, 1.0)
        client.replicaof("127.0.0.1", 1)  # nobody answers there: it stays as it is, and refuses writes
        with pytest.raises(Refused):
            seat.beat()
        seat.fetch.close()
        clock.now += 2.0
        with pytest.raises(Refused):
            reaper.tick()
        client.replicaof("NO", "ONE")
        clock.now += 0.1
        reaper.tick()
        assert not condemned(client, seat.identity)
        seat.beat()
        assert client.llen(seat.private()) == 1


def test_3_one_connection_that_is_left_stops_the_shortcut(server: Server, redis_client: redis.Redis) -> None:
    """Case 3: a beat that is late is no death while a connection is there."""
    clock = HandClock()
    seat = Seat(server.url, config=quick(server.url, ttl=60.0)).register()
    with seats(seat), reaping(server.url, clock, ttl=60.0) as reaper:
        seat.fetch.link.close()
        reaper.tick()
        clock.now += 100.0
        age_beat(redis_client, seat.identity, 5.0)
        reaper.tick()
        assert not condemned(redis_client, seat.identity)


def test_3_the_shortcut_condemns_only_the_counter_that_was_seen(server: Server, redis_client: redis.Redis) -> None:
    """Case 3: list-then-condemn is a race; a beat between the two wins it."""
    seat = Seat(server.url).register()
    with seats(seat):
        seen = seat.life.suspect(seat.identity)
        counter = seat.beat()
        assert seat.life.condemn(seat.identity, Evidence.COUNTER, seen.counter) == (False, counter)
        expire(redis_client, seat.identity)
        assert seat.life.condemn(seat.identity, Evidence.COUNTER, counter) == (False, ""), "absent is for the watch"
        assert seat.beat() != counter, "a counter that was seen never comes back"


def test_3_where_client_list_is_refused_the_ttl_serves(fresh_server: FreshServer) -> None:
    """Case 3: no shortcut, no error; the watch finds the death."""
    server = fresh_server()
    clock = HandClock()
    with server.client() as client:
        job = payload()
        push(client, job)
        seat = Seat(server.url).register()
        with seats(seat), reaping(limited(client, server.socket, without="-client"), clock) as reaper:
            seat.claim()
            seat.close()
            reaper.tick()
            clock.now += 100.0
            age_beat(client, seat.identity, 5.0)
            reaper.tick()
            assert not condemned(client, seat.identity)
            expire(client, seat.identity)
            reaper.tick()
            age_watch(client, seat.identity, first=10.0, last=0.1)
            reaper.tick()
            assert condemned(client, seat.identity)
        assert client.lrange("queue:default", 0, -1) == [job]


# -- 4: a full server


@pytest.fixture
def full_server(fresh_server: FreshServer) -> Server:
    """A server of one's own, to be filled."""
    return fresh_server(settings={"maxmemory-policy": "noeviction"})


def fill(server: Server) -> None:
    """No write that needs memory is accepted any more."""
    server.config(maxmemory=1)
    with server.client() as client, pytest.raises(redis.ResponseError):
        client.set("scratch:more", "x")


def test_4_everything_but_enqueue_works_on_a_full_server(full_server: Server) -> None:
    """Case 4: register, beat, claim, settle in every way, fence, reap, promote, lead, show and leave."""
    with full_server.client() as client:
        jobs = [payload(number) for number in range(8)]
        dead, alive = Seat(full_server.url).register(), Seat(full_server.url)
        clock = HandClock()
        link = Store(quick(full_server.url)).link("sets")
        sets = Sets(Store(quick(full_server.url)), link)
        with seats(dead, alive), reaping(full_server.url, clock) as reaper:
            push(client, *jobs[:2])
            dead.claim()
            client.zadd("retry", {jobs[7]: 1.0})
            client.script_flush()
            fill(full_server)
            alive.register()
            alive.beat()
            alive.own.show(alive.identity, {"busy": 1})
            alive.own.show_work(alive.identity, {"1": b"{}"})
            expire(client, dead.identity)
            client.delete("suspects")
            server_side = client.time()[0] - 30
            client.zrem("beats", dead.identity)
            full_server.config(maxmemory=0)
            client.zadd("beats", {dead.identity: server_side})
            fill(full_server)
            reaper.tick()
            full_server.config(maxmemory=0)
            age_watch(client, dead.identity, 10.0, 0.1)
            fill(full_server)
            reaper.tick()
            assert condemned(client, dead.identity)
            assert client.lrange("queue:default", 0, -1) == jobs[1::-1]
            assert sets.lead("promote", "me", 1.0)
            assert sets.promote(2.0) == 1
            claims = alive.claim()
            assert len(claims) == 3
            done, retried, buried = claims
            alive.fetch.exchange(
                [
                    alive.ending(done),
                    alive.ending(retried, Retry(2e9, retried.payload, "x")),
                    alive.ending(buried, Bury(buried.payload, "x")),
                ],
                [],
            )
            with producing(full_server.url) as queue:
                with pytest.raises(Refused, match=r"full.*maxmemory") as refusal:
                    queue.enqueue("default", [jobs[3]])
                assert refusal.value.code == "OOM"
                with pytest.raises(Refused, match=r"full.*maxmemory"):
                    queue.schedule([(1.0, jobs[3])])
            assert alive.own.leave(alive.identity, alive.queues) == 0
            full_server.config(maxmemory=0)
            assert homes(client) == {jid_of(retried.payload): 1, jid_of(buried.payload): 1}
        link.close()


def test_4_a_release_and_a_drop_work_on_a_full_server(full_server: Server) -> None:
    """Case 4."""
    with full_server.client() as client:
        jobs = [payload(number) for number in range(2)]
        push(client, *jobs)
        seat = Seat(full_server.url).register()
        with seats(seat):
            fill(full_server)
            first, second = seat.claim()
            seat.settle(first, outcome=Release())
            seat.settle(second, outcome=Drop("no"))
            assert client.lrange("queue:default", 0, -1) == [first.payload]


def test_4_a_refused_doorbell_is_replaced_by_looking(full_server: Server) -> None:
    """Case 4: BLMOVE is refused with OOM; the loop claims by turn, drains the queue, and is alive all the time."""
    ledger = Ledger()
    with (
        full_server.client() as client,
        application(full_server.url, ledger) as app,
        Loop(app, full_server.url) as loop,
        reaping(full_server.url) as reaper,
    ):
        identity = loop.identity
        jids = [app.enqueue("work", number, 0.02) for number in range(30)]
        jids += [app.enqueue("fail", number) for number in range(3)]
        fill(full_server)
        eventually(lambda: len(ledger.ended) == len(jids), 8.0, "the full server is drained")
        with pytest.raises(Refused, match="maxmemory"):
            app.enqueue("work", 1)
        reaper.tick()
        late = payload(99)
        full_server.config(maxmemory=0)
        push(client, late)
        fill(full_server)
        eventually(lambda: len(ledger.ended) == len(jids) + 1, 4.0, "a job that came while doorbells are refused")
        full_server.config(maxmemory=0)
        eventually(lambda: client.zcard("dead") == 3)
        assert ledger.runs == Counter([*jids, jid_of(late)])
        assert {entry.identity for entry in loop.entries} == {identity}
        assert not condemned(client, identity)
        assert not stranded(client)


def test_4_a_promoter_and_a_heartbeat_go_on_on_a_full_server(full_server: Server) -> None:
    """Case 4: the duties themselves, tick by tick."""
    with full_server.client() as client:
        client.zadd("schedule", {payload(number): 1.0 for number in range(700)})
        fill(full_server)
        clock = HandClock()
        promoter = Promoter(Store(quick(full_server.url)), clock)
        heart = Heartbeat(Store(quick(full_server.url)), clock, lambda *_: None)
        heart.tick()
        assert promoter.tick() == 0.0
        assert promoter.tick() == 0.0
        assert promoter.tick() > 0.0
        promoter.close()
        heart.close()
        assert client.llen("queue:default") == 700
        full_server.config(maxmemory=0)


# -- 5: eviction


def test_5_the_policy_of_the_server_is_known(fresh_server: FreshServer) -> None:
    """Case 5: a server that evicts is told from one that does not; where INFO is refused nothing is said."""
    from reliq.store.connection import memory_policy

    server = fresh_server(settings={"maxmemory-policy": "allkeys-lru"})
    with server.client() as client:
        url_without_info = limited(client, server.socket, without="-info")
    for url, expected in ((server.url, "allkeys-lru"), (url_without_info, None)):
        link = Store(quick(url)).link("check")
        assert memory_policy(link) == expected
        link.close()


def test_1_standing_is_asked_for_before_the_first_job_of_a_thawed_process(
    server: Server, redis_client: redis.Redis
) -> None:
    """Case 1 and 18: a doorbell job of a process without standing starts only after a beat was confirmed."""
    ledger = Ledger()
    with (
        Proxy(server.socket) as life,
        application(server.url, ledger) as app,
        Loop(app, server.url, life_url=life.url) as loop,
    ):
        assert loop.identity
        life.freeze()
        eventually(lambda: not loop.worker._standing(), why="no beat is confirmed any more")
        job = app.enqueue("work", 1)
        eventually(lambda: redis_client.llen("queue:default") == 1 or stranded(redis_client))
        assert not ledger.began
        life.thaw()
        eventually(lambda: ledger.ended == [job], why="it beats again and starts the job")
