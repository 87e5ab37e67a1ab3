"""docs/counterexamples.md 6 to 9 and 18: what a broken connection did, and how a process leaves.

Each test drives one process's fetcher by hand; the proxy loses replies and brings commands late.
"""

import select
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import redis

from chaos.eventually import eventually
from chaos.proxy import Match, Proxy, Trap, named, script
from chaos.servers import Server
from reliq.errors import StoreError, Unreachable
from reliq.job import jid_of
from reliq.outcome import Release, Retry
from reliq.server.fetcher import SuperFetch
from reliq.store.claims import Claim, Condemned
from reliq.store.connection import Link
from reliq.store.scripts import Library
from tests.conftest import FreshServer
from tests.counterexamples.stage import (
    Ledger,
    Loop,
    Seat,
    age_beat,
    all_done,
    application,
    homes,
    limited,
    payload,
    push,
    quick,
    reaping,
    recovering,
    seats,
    stranded,
    words,
)

SHAS = Library.load().shas
TURN, RECONCILE = script(SHAS["turn"]), script(SHAS["reconcile"])


def recover(fetch: SuperFetch, waiting: list[Claim] | None = None) -> list[Claim]:
    """Recover as the loop does, again until it succeeds; everything that was adopted on the way."""
    adopted: list[Claim] = []

    def succeeds() -> bool:
        try:
            adopted.extend(fetch.recover([], waiting or [])[0])
        except StoreError:
            return False
        return True

    eventually(succeeds, why="the fetcher recovers")
    return adopted


def payloads(claims: list[Claim]) -> list[bytes]:
    return sorted(claim.payload for claim in claims)


# -- 6: leaving


def test_6_a_doorbell_that_is_answered_at_the_last_moment_is_not_left_behind(
    server: Server, redis_client: redis.Redis
) -> None:
    """Case 6 [stop-doorbell]: the job that came between the stop and the end of the doorbell is handed back."""
    seat, job = Seat(server.url, "default", "other").register(), payload()
    with seats(seat):
        seat.arm()
        push(redis_client, job, queue="other")
        assert seat.own.leave(seat.identity, seat.queues) == 1, "who holds a job may not leave"
        claims = seat.fetch.quiet()
        assert payloads(claims) == [job]
        seat.settle(*claims, outcome=Release())
        assert seat.own.leave(seat.identity, seat.queues) == 0
        assert homes(redis_client) == {jid_of(job): 1}
        assert not stranded(redis_client)
        push(redis_client, payload())
        assert not stranded(redis_client), "no doorbell is left in the server"


def test_6_a_claim_whose_reply_was_lost_before_the_stop_is_found(
    server: Server, proxy: Proxy, redis_client: redis.Redis
) -> None:
    """Case 6 [stop-lost]: claim applied, reply lost, stop: leaving is refused until the claim is handed back."""
    seat, job = Seat(proxy.url).register(), payload()
    push(redis_client, job)
    with seats(seat):
        proxy.drop_reply(TURN)
        with pytest.raises(Unreachable):
            seat.claim()
        assert seat.own.leave(seat.identity, seat.queues) == 1
        adopted = recover(seat.fetch)
        assert payloads(adopted) == [job]
        seat.settle(*adopted, outcome=Release())
        assert seat.own.leave(seat.identity, seat.queues) == 0
    assert homes(redis_client) == {jid_of(job): 1}


def test_6_a_doorbell_that_arrives_after_the_end_is_in_the_walk(fresh_server: FreshServer) -> None:
    """Case 6 [stop-late]: BLMOVE on its way (and CLIENT KILL refused), the process leaves; then it takes a job for
    one that has left.
    """
    server = fresh_server()
    with server.client() as client, Proxy(server.socket) as proxy:
        seat, job = Seat(as_user(client, proxy, "limited")).register(), payload()
        with seats(seat), reaping(server.url) as early, reaping(server.url) as late:
            held = proxy.hold(named("BLMOVE"))
            assert seat.claim() == []
            seat.fetch.rest()
            held.wait()
            with pytest.raises(Unreachable):
                seat.fetch.ring(seat.fetch.sockets()[0])
            assert recover(seat.fetch) == []
            assert seat.own.leave(seat.identity, seat.queues) == 0
            seat.close()
            age_beat(client, seat.identity, 5.0)
            early.tick()
            push(client, job)
            proxy.deliver(held)
            assert client.lrange(seat.private(), 0, -1) == [job]
            late.tick()
            assert client.lrange("queue:default", 0, -1) == [job]
            # The one that looked before looks again, too.
            client.lmove("queue:default", seat.private(), "RIGHT", "LEFT")
            early._clock.now += 100.0  # type: ignore[attr-defined]
            early.tick()
            assert client.lrange("queue:default", 0, -1) == [job]


# -- 7: what arrives after its sender gave up


@pytest.mark.parametrize("user", ["default", "limited"])
def test_7_a_turn_that_arrives_late_is_refused_by_its_number(fresh_server: FreshServer, user: str) -> None:
    """Case 7 [late-turn]: reconciled and going on, with and without the right to CLIENT KILL; then it arrives."""
    server = fresh_server()
    with server.client() as client, Proxy(server.socket) as proxy:
        seat = Seat(as_user(client, proxy, user)).register()
        with seats(seat):
            job = payload()
            held = proxy.hold(TURN)
            with pytest.raises(Unreachable):
                seat.claim()
            assert recover(seat.fetch) == []
            push(client, job)
            _deliver(proxy, held)
            assert client.lrange("queue:default", 0, -1) == [job], "the late claim takes nothing"
            assert payloads(seat.claim()) == [job]


def as_user(client: redis.Redis, proxy: Proxy, user: str) -> str:
    """The proxy's URL for a user; `limited` may neither KILL nor UNBLOCK nor LIST clients."""
    if user == "default":
        return proxy.url
    return limited(client, proxy.socket, without="-client +client|id")


def _deliver(proxy: Proxy, held: Trap) -> None:
    # The server may have closed the old connection, as it was told to.
    try:
        proxy.deliver(held, within=0.5)
    except AssertionError:
        assert held.reply is None


@pytest.mark.parametrize("user", ["default", "limited"])
def test_7_a_doorbell_that_arrives_late_is_found_by_the_length_of_the_list(
    fresh_server: FreshServer, user: str
) -> None:
    """Case 7 [late-doorbell]: its job is in no answer; the next turn sees one more than is known, and adopts it."""
    server = fresh_server()
    with server.client() as client, Proxy(server.socket) as proxy:
        seat = Seat(as_user(client, proxy, user)).register()
        with seats(seat):
            job = payload()
            held = proxy.hold(named("BLMOVE"))
            assert seat.claim() == []
            seat.fetch.rest()
            held.wait()
            with pytest.raises(Unreachable):
                seat.fetch.ring(seat.fetch.sockets()[0])
            assert recover(seat.fetch) == []
            push(client, job)
            _deliver(proxy, held)
            if not client.llen(seat.private()):  # its connection was closed: it never came
                assert payloads(seat.claim()) == [job]
                return
            assert seat.claim() == []
            assert seat.fetch.suspicious
            assert payloads(recover(seat.fetch)) == [job]
            assert seat.claim() == []
            assert not seat.fetch.suspicious


def test_7_an_idle_process_finds_what_a_late_doorbell_brought(
    server: Server, proxy: Proxy, redis_client: redis.Redis
) -> None:
    """Case 7: also a loop that has nothing else to do, within one doorbell's time."""
    ledger = Ledger()
    with application(server.url, ledger) as app, Loop(app, proxy.url) as loop:
        eventually(lambda: loop.identity and _blocked(redis_client) == 1)
        held = proxy.hold(named("BLMOVE"))
        held.wait()
        eventually(lambda: _blocked(redis_client) == 1, why="the next doorbell is armed")
        # With the doorbells quiet for a moment the late one is the only one that waits.
        app.enqueue("work", 1)
        eventually(lambda: len(ledger.ended) == 1)
        job = payload(2)
        redis_client.lpush(f"private:{loop.identity}:default", job)  # what BLMOVE does when it is served unseen
        _deliver(proxy, held)
        eventually(lambda: len(ledger.ended) == 2, 3.0, "the job that nobody was told of")
        all_done(redis_client, ledger, [ledger.began[0], jid_of(job)])


def _blocked(client: redis.Redis) -> int:
    return int(client.info("clients")["blocked_clients"])


@pytest.mark.parametrize("user", ["default", "limited"])
def test_7_a_release_that_arrives_late_does_not_take_a_running_job(fresh_server: FreshServer, user: str) -> None:
    """Case 7 [handback-late]: a hand-back is sent again, the job is claimed again and runs; the first arrives."""
    server = fresh_server()
    with server.client() as client, Proxy(server.socket) as proxy:
        seat = Seat(as_user(client, proxy, user)).register()
        with seats(seat):
            job = payload()
            push(client, job)
            claims = seat.claim()
            held = proxy.hold(TURN)
            ending = seat.ending(claims[0], Release())
            with pytest.raises(Unreachable):
                seat.fetch.exchange([ending], [])
            adopted, left, gone = seat.fetch.recover([ending], [])
            assert (adopted, left, gone) == ([], [ending], [])
            again = seat.fetch.exchange(left, []) + seat.claim()
            assert payloads(again) == [job]
            _deliver(proxy, held)
            assert client.lrange(seat.private(), 0, -1) == [job]
            assert client.llen("queue:default") == 0
            seat.settle(*again)
            assert homes(client) == {}
            assert client.get("stat:processed") == b"1"


# -- 8: the doorbell's answer and the comparison


def bell_and_turn(seat: Seat, client: redis.Redis) -> list[bytes]:
    """The doorbell of `first` has been served and not read, and a job waits in `second` for a turn; all that is held
    but not known then.
    """
    push(client, payload(), queue="second")
    assert len(seat.claim(1)) == 1  # `first` was seen empty, `second` not
    seat.fetch.rest()
    assert [bell.place for bell in seat.fetch.sockets()] == [0]
    jobs = [payload(1), payload(2)]
    push(client, jobs[0], queue="first")
    push(client, jobs[1], queue="second")
    eventually(lambda: client.llen(seat.private("first")) == 1)
    return sorted(jobs)


def test_8_a_job_that_a_doorbell_delivers_during_recovery_is_taken_once(
    server: Server, proxy: Proxy, redis_client: redis.Redis
) -> None:
    """Case 8 [lost-drain]: a turn breaks while BLMOVE has been served and its answer not read."""
    seat = Seat(proxy.url, "first", "second").register()
    with seats(seat):
        jobs = bell_and_turn(seat, redis_client)
        proxy.drop_reply(TURN)
        with pytest.raises(Unreachable):
            seat.claim()
        assert payloads(recover(seat.fetch)) == jobs
        assert seat.fetch.sockets() == []
        assert seat.claim() == []
        assert not seat.fetch.suspicious


@pytest.mark.parametrize(
    "lost",
    [RECONCILE, words("CLIENT", "UNBLOCK"), words("CLIENT", "KILL"), words("CLIENT", "ID")],
    ids=["reconcile", "CLIENT UNBLOCK", "CLIENT KILL", "CLIENT ID"],
)
def test_8_a_recovery_that_breaks_itself_loses_no_claim(
    lost: Match, server: Server, proxy: Proxy, redis_client: redis.Redis
) -> None:
    """Case 8: what the first try has heard from a doorbell, or seen in the lists, the second one still gives out."""
    seat = Seat(proxy.url, "first", "second").register()
    with seats(seat):
        jobs = bell_and_turn(seat, redis_client)
        proxy.drop_reply(TURN)
        with pytest.raises(Unreachable):
            seat.claim()
        proxy.drop_reply(lost)
        assert payloads(recover(seat.fetch)) == jobs


def test_8_ending_the_doorbells_keeps_what_the_first_one_brought(
    server: Server, proxy: Proxy, redis_client: redis.Redis
) -> None:
    """Case 6 and 8: two doorbells are ended; one brings a job, the connection of the other breaks."""
    seat, job = Seat(proxy.url, "first", "second").register(), payload()
    with seats(seat):
        assert seat.claim() == []
        trap = proxy.drop_reply(lambda command: command[0] == b"BLMOVE" and command[1].endswith(b"second"))
        seat.fetch.rest()
        push(redis_client, job, queue="first")
        eventually(lambda: redis_client.llen(seat.private("first")) == 1)
        found: list[Claim] = []
        try:
            found += seat.fetch.quiet()
        except Unreachable:
            assert trap.reply is not None
            found += recover(seat.fetch)
        assert payloads(found) == [job]


def test_8_a_doorbell_that_was_cut_off_in_a_recovery_is_heard_again(
    server: Server, proxy: Proxy, redis_client: redis.Redis
) -> None:
    """Case 7 and 8: recovery without any error (by the length of the list) in which a doorbell's connection is given
    up: the new one, which may have the old one's number, is listened to.
    """
    ledger = Ledger()
    with application(server.url, ledger) as app, Loop(app, proxy.url) as loop:
        eventually(lambda: loop.identity and _blocked(redis_client) == 1)
        trap = proxy.drop_reply(words("CLIENT", "UNBLOCK"))
        job = payload(1)
        redis_client.lpush(f"private:{loop.identity}:default", job)
        eventually(lambda: len(ledger.ended) == 1, 3.0, "the job that nobody was told of")
        jids = [jid_of(job)]
        for number in range(3):
            jids.append(app.enqueue("work", number))
            eventually(lambda: len(ledger.ended) == len(jids), 3.0, "a job by doorbell")
        all_done(redis_client, ledger, jids)
    assert trap.reply is not None or trap.sprung is None


# -- 9: resends, and equal bytes


def test_9_a_turn_is_not_resent_below_the_loop(server: Server, proxy: Proxy, redis_client: redis.Redis) -> None:
    """Case 9 [lost-claim]: the first claim is applied, its reply lost: an error, and then all of it is adopted."""
    seat, jobs = Seat(proxy.url).register(), [payload(number) for number in range(5)]
    push(redis_client, *jobs)
    with seats(seat):
        trap = proxy.drop_reply(TURN)
        with pytest.raises(Unreachable):
            seat.claim(3)
        assert trap.reply is not None
        assert redis_client.llen(seat.private()) == 3, "sent once"
        assert payloads(recover(seat.fetch)) == sorted(jobs[:3])
        assert payloads(seat.claim()) == sorted(jobs[3:])


@pytest.mark.parametrize("lost", [1, 2])
def test_9_of_two_copies_of_one_payload_one_is_settled_once(
    lost: int, server: Server, proxy: Proxy, redis_client: redis.Redis
) -> None:
    """Case 9 [same-bytes]: the settle of copy 1 is applied and its reply lost (also twice); copy 2 still runs, fails,
    and its retry is accepted.
    """
    seat, job = Seat(proxy.url).register(), payload()
    push(redis_client, job, job)
    with seats(seat):
        first, second = seat.claim()
        ending = seat.ending(first)
        proxy.drop_reply(TURN)
        if lost == 2:
            proxy.drop_reply(RECONCILE)
        with pytest.raises(Unreachable):
            seat.fetch.exchange([ending], [])
        for _ in range(lost):
            try:
                adopted, left, gone = seat.fetch.recover([ending], [])
                break
            except Unreachable:
                continue
        assert (adopted, left, gone) == ([], [], []), "the first settle was applied: it is not sent again"
        assert redis_client.lrange(seat.private(), 0, -1) == [job]
        seat.settle(second, outcome=Retry(2e9, job, "failed"))
        assert redis_client.zrange("retry", 0, -1) == [job]
        assert not stranded(redis_client)


def test_9_an_ack_and_a_new_claim_of_equal_bytes_do_not_look_like_nothing(
    server: Server, proxy: Proxy, redis_client: redis.Redis
) -> None:
    """Case 9: one turn acks copy 1 and claims copy 2, its reply is lost: copy 2 is adopted, 1 settled once."""
    seat, job = Seat(proxy.url).register(), payload()
    push(redis_client, job, job)
    with seats(seat):
        (first,) = seat.claim(1)
        ending = seat.ending(first)
        proxy.drop_reply(TURN)
        with pytest.raises(Unreachable):
            seat.fetch.exchange([ending], [1])
        adopted, left, _ = seat.fetch.recover([ending], [])
        assert payloads(adopted) == [job]
        assert left == []
        seat.settle(*adopted)
    assert redis_client.get("stat:processed") == b"2"
    assert homes(redis_client) == {}


def test_9_a_turn_that_was_not_applied_is_sent_again_under_a_new_number(
    server: Server, proxy: Proxy, redis_client: redis.Redis
) -> None:
    """Case 9: the connection ends before the turn is applied: its settles are still to be done."""
    seat, job = Seat(proxy.url).register(), payload()
    push(redis_client, job)
    with seats(seat):
        (claim,) = seat.claim()
        ending = seat.ending(claim)
        proxy.hold(TURN)
        with pytest.raises(Unreachable):
            seat.fetch.exchange([ending], [])
        adopted, left, gone = seat.fetch.recover([ending], [])
        assert (adopted, left, gone) == ([], [ending], [])
        seat.fetch.exchange(left, [])
    assert redis_client.get("stat:processed") == b"1"
    assert homes(redis_client) == {}


def test_9_whatever_breaks_every_copy_runs_once(server: Server, proxy: Proxy, redis_client: redis.Redis) -> None:
    """Case 9: forty copies of one payload through a loop whose every third turn loses its reply."""
    ledger = Ledger()
    job = payload()
    turns = 0

    def third(command: tuple[bytes, ...]) -> bool:
        nonlocal turns
        turns += TURN(command)
        return TURN(command) and turns % 3 == 0

    with application(server.url, ledger) as app, Loop(app, proxy.url) as loop:
        assert loop.identity
        for _ in range(8):
            proxy.drop_reply(third)
        push(redis_client, *[job] * 40)
        eventually(lambda: not homes(redis_client), 8.0)
        assert ledger.runs == Counter({jid_of(job): 40})
        assert redis_client.get("stat:processed") == b"40"


def test_a_verdict_in_mid_recovery_ends_it(server: Server, redis_client: redis.Redis) -> None:
    """One that is condemned while it reconciles hears so, and adopts nothing."""
    seat = Seat(server.url, config=quick(server.url)).register()
    push(redis_client, payload())
    with seats(seat):
        seat.claim()
        redis_client.set(f"heartbeat:{seat.identity}", "fenced", px=1000)
        with pytest.raises(Condemned):
            seat.fetch.recover([], [])


# -- 18: ids of a former run of the server


@contextmanager
def strangers(server: Server, beyond: int) -> Iterator[Callable[[], int]]:
    """Connections of others, all that the server numbers up to `beyond`, waiting; how many of them are disturbed."""
    links: list[Link] = []
    try:
        number = 0
        while number <= beyond:
            links.append(Link(server.url, quick(server.url)))
            number = links[-1].identify() or 0
            links[-1].send("BLPOP", "nothing", 0)
        yield lambda: len(select.select(links, [], [], 0)[0])
    finally:
        for link in links:
            link.close()


def late_numbers(server: Server) -> None:
    """Use up the low ones: after a restart the test's own connections come first."""
    with strangers(server, beyond=20) as disturbed:
        assert disturbed() == 0


@pytest.mark.parametrize("armed", [True, False])
def test_18_who_recovers_from_a_restart_leaves_others_alone(fresh_server: FreshServer, *, armed: bool) -> None:
    """Case 18: the ids that its connections had are those of others now."""
    server = fresh_server(durable=True)
    late_numbers(server)
    seat, job = Seat(server.url).register(), payload()
    with seats(seat):
        if armed:
            seat.arm()
        server.restart()
        with strangers(server, beyond=max(seat.fetch.clients())) as disturbed, server.client() as client:
            assert recover(seat.fetch) == []
            assert disturbed() == 0
            assert set(seat.fetch.clients()) <= {int(each["id"]) for each in client.client_list()}
            seat.arm()
            push(client, job)
            eventually(lambda: client.lrange(seat.private(), 0, -1) == [job], why="its new doorbell is heard")


def test_18_a_child_that_died_in_a_former_run_of_the_server_has_no_connections(fresh_server: FreshServer) -> None:
    """Case 18: the supervisor disconnects by ids that are others' now."""
    server = fresh_server(durable=True)
    late_numbers(server)
    seat, job = Seat(server.url).register(), payload()
    with seats(seat), recovering(server.url) as recovery, server.client() as client:
        push(client, job)
        seat.claim()
        counter = seat.beat()
        server.restart()
        with strangers(server, beyond=max(seat.entry.clients)) as disturbed:
            recovery.child_died(seat.entry, counter, [], "was killed")
            assert disturbed() == 0
        assert client.lrange("queue:default", 0, -1) == [job]
