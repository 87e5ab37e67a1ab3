"""docs/counterexamples.md 10 to 14: what a verdict means, on which evidence it is given, whom a crash is charged to."""

from collections import Counter
from contextlib import closing
from multiprocessing import get_context
from threading import Barrier, Thread

import attrs
import pytest
import redis

from chaos.eventually import eventually
from chaos.proxy import Proxy, named, script
from chaos.servers import Server
from reliq.errors import JobInterrupted, Unreachable
from reliq.job import jid_of
from reliq.outcome import Bury, Done, Drop, Outcome, Release, Retry
from reliq.server.board import Board, allocate
from reliq.store.claims import Condemned
from reliq.store.opening import Store
from reliq.store.probe import Probe
from reliq.store.processes import Evidence, Processes
from reliq.store.scripts import Library
from tests.counterexamples.stage import (
    Ledger,
    Loop,
    Seat,
    age_beat,
    age_watch,
    all_done,
    application,
    condemn,
    condemned,
    crashes,
    expire,
    homes,
    payload,
    push,
    quick,
    reaping,
    recovering,
    seats,
    stranded,
)

OUTCOMES: dict[str, Outcome] = {
    "done": Done(),
    "retry": Retry(2e9, b"{}", "x"),
    "bury": Bury(b"{}", "x"),
    "drop": Drop("x"),
    "release": Release(),
}


# -- 10: one moment of death


@pytest.mark.parametrize("kind", OUTCOMES)
def test_10_after_the_verdict_no_queue_is_settled_and_nothing_happens(
    kind: str, server: Server, redis_client: redis.Redis
) -> None:
    """Case 10 [freeze]: condemned, and nothing moved yet: every settle of every queue is refused as a whole."""
    seat, jobs = Seat(server.url, "first", "second").register(), [payload(1), payload(2)]
    push(redis_client, jobs[0], queue="first")
    push(redis_client, jobs[1], queue="second")
    with seats(seat):
        claims = seat.claim()
        condemn(redis_client, seat.identity)
        before = homes(redis_client)
        for claim in claims:
            with pytest.raises(Condemned):
                seat.settle(claim, outcome=OUTCOMES[kind])
        assert homes(redis_client) == before == Counter(map(jid_of, jobs))
        assert not redis_client.exists("retry", "dead", "stat:processed", "stat:failed")


def test_10_after_the_verdict_nobody_beats_claims_registers_or_draws(server: Server, redis_client: redis.Redis) -> None:
    """Case 10: the plain SET of a beat is stopped, too, so nobody lives on half fenced."""
    seat, job = Seat(server.url).register(), payload()
    probe = Probe(Store(quick(server.url)))
    with seats(seat):
        condemn(redis_client, seat.identity)
        push(redis_client, job)
        for refused in (
            seat.beat,
            seat.claim,
            lambda: seat.own.register(seat.entry),
            lambda: seat.fetch.recover([], []),
        ):
            with pytest.raises(Condemned):
                refused()
        with pytest.raises(JobInterrupted):
            probe.fence(seat.identity)
        seat.own.show(seat.identity, {"busy": 1})
        seat.own.show_work(seat.identity, {"1": b"{}"})
        assert condemned(redis_client, seat.identity)
        assert redis_client.lrange("queue:default", 0, -1) == [job]
        assert not redis_client.exists(seat.identity, f"{seat.identity}:work")
    probe.close()


def test_10_between_the_steps_of_a_sweep_the_old_owner_changes_nothing(
    server: Server, redis_client: redis.Redis
) -> None:
    """Case 10: one queue is back, the other not yet; the owner thaws and acks: removed nothing, said nothing."""
    seat, jobs = Seat(server.url, "first", "second").register(), [payload(1), payload(2)]
    push(redis_client, jobs[0], queue="first")
    push(redis_client, jobs[1], queue="second")
    with seats(seat):
        claims = seat.claim()
        condemn(redis_client, seat.identity)
        seat.life.reap(attrs.evolve(seat.entry, queues=("second",)), [], "died")
        for claim in claims:
            with pytest.raises(Condemned):
                seat.settle(claim)
        assert redis_client.lrange(seat.private("first"), 0, -1) == [jobs[0]]
        assert redis_client.lrange("queue:second", 0, -1) == [jobs[1]]
        seat.life.reap(seat.entry, [], "died")
        assert redis_client.lrange("queue:first", 0, -1) == [jobs[0]]
        assert not redis_client.exists("stat:processed")


def test_10_a_reap_without_a_verdict_moves_nothing(server: Server, redis_client: redis.Redis) -> None:
    """Case 10: the sweep itself asks for the verdict, alive or merely absent is not enough."""
    seat, job = Seat(server.url).register(), payload()
    push(redis_client, job)
    with seats(seat):
        seat.claim()
        assert seat.life.reap(seat.entry, [], "died").total == 0
        expire(redis_client, seat.identity)
        assert seat.life.reap(seat.entry, [], "died").total == 0
        assert redis_client.lrange(seat.private(), 0, -1) == [job]


# -- 11: the identity that a claim was made under


def test_11_the_run_of_an_old_identity_settles_nothing(server: Server, redis_client: redis.Redis) -> None:
    """Case 11: id0 runs J, is condemned, and claims J again as id2; the old run ends: J still runs."""
    ledger = Ledger()
    with application(server.url, ledger) as app, Loop(app, server.url) as loop, reaping(server.url) as reaper:
        first = loop.identity
        jid = app.enqueue("gated")
        eventually(lambda: len(ledger.began) == 1)
        condemn(redis_client, first)
        eventually(lambda: loop.identity != first, why="it has heard the verdict")
        second = loop.identity
        age_beat(redis_client, first, 5.0)
        reaper.tick()
        eventually(lambda: len(ledger.began) == 2, why="the job runs again, under the new identity")
        eventually(lambda: loop.board.busy == 2, why="the old run keeps its slot")
        ledger.gates[0].set()
        eventually(lambda: loop.board.busy == 1, why="the old run has ended")
        assert redis_client.llen(f"private:{second}:default") == 1, "the new run's claim is untouched"
        assert not redis_client.exists("stat:processed")
        ledger.gates[1].set()
        eventually(lambda: redis_client.get("stat:processed") == b"1")
        assert ledger.runs == {jid: 2}
        assert homes(redis_client) == {}


def test_11_a_fetcher_passes_over_endings_of_another_identity(server: Server, redis_client: redis.Redis) -> None:
    """Case 11: also when the bytes are equal."""
    old, new, job = Seat(server.url).register(), Seat(server.url).register(), payload()
    push(redis_client, job)
    with seats(old, new):
        (claim,) = old.claim()
        condemn(redis_client, old.identity)
        old.life.reap(old.entry, [], "died")
        (again,) = new.claim()
        assert again.payload == claim.payload
        new.settle(claim)
        assert redis_client.lrange(new.private(), 0, -1) == [job]
        new.settle(again)
        assert redis_client.get("stat:processed") == b"1"


# -- 12: the supervisor dies


def test_12_a_process_without_a_supervisor_beats_for_itself_until_it_has_left(
    server: Server, redis_client: redis.Redis
) -> None:
    """Case 12: its jobs take longer than TTL and confirm; nobody takes it for dead, each job runs once."""
    ledger = Ledger()
    config = quick(server.url)
    with application(server.url, ledger) as app, reaping(server.url) as reaper:
        with Loop(app, server.url) as loop:
            identity = loop.identity
            jids = [app.enqueue("work", number, 3.0) for number in range(3)]
            eventually(lambda: len(ledger.began) == 3)
            loop.orphan()
            until = config.ttl + config.confirm_after

            def past_the_ttl_path() -> bool:
                reaper.tick()
                assert not condemned(redis_client, identity) or len(ledger.ended) == 3
                return len(ledger.ended) == 3

            eventually(past_the_ttl_path, until + 3.0, "the jobs finish")
            loop.join()
        all_done(redis_client, ledger, jids)
        assert condemned(redis_client, identity), "it left, and fenced itself"


# -- 13: whom a crash is charged to


def test_13_only_started_jobs_are_charged(server: Server, redis_client: redis.Redis) -> None:
    """Case 13 [crash-prefetch]: of five claimed jobs two had started."""
    seat, jobs = Seat(server.url).register(), [payload(number) for number in range(5)]
    push(redis_client, *jobs)
    with seats(seat), recovering(server.url) as recovery:
        seat.claim()
        started = [jid_of(job) for job in jobs[:2]]
        recovery.child_died(seat.entry, seat.beat(), started, "was killed")
        assert crashes(redis_client) == dict.fromkeys(started, 1)
        assert redis_client.lrange("queue:default", 0, -1) == jobs[::-1]


@pytest.mark.parametrize("path", ["child", "walk"])
def test_13_one_that_was_told_to_stop_is_charged_with_nothing(
    path: str, server: Server, redis_client: redis.Redis
) -> None:
    """Case 13 [stop-kill]: SIGKILLed at the end of its grace, by its supervisor's or by another pod's recovery."""
    seat, job = Seat(server.url).register(stopping=True), payload()
    push(redis_client, job)
    with seats(seat), recovering(server.url) as recovery, reaping(server.url) as reaper:
        seat.claim()
        seat.own.show_work(seat.identity, {"1": b'{"payload": "%s"}' % job.replace(b'"', b'\\"')})
        if path == "child":
            recovery.child_died(seat.entry, seat.beat(), [jid_of(job)], "was killed")
        else:
            expire(redis_client, seat.identity)
            age_beat(redis_client, seat.identity, 30.0)
            reaper.tick()
            age_watch(redis_client, seat.identity, 10.0, 0.1)
            reaper.tick()
        assert redis_client.hlen("crashes") == 0
        assert redis_client.lrange("queue:default", 0, -1) == [job]


def test_13_the_mark_of_being_told_to_stop_is_there_before_anything_else(
    server: Server, redis_client: redis.Redis
) -> None:
    """Case 13: from the moment on that a process has heard the word, a SIGKILL is no crash."""
    ledger = Ledger()
    link = Store(quick(server.url)).link("look")
    with closing(link), application(server.url, ledger) as app, Loop(app, server.url) as loop:
        identity = loop.identity
        app.enqueue("work", 1, 0.5)
        eventually(lambda: ledger.began)
        loop.tell_to_stop()
        eventually(lambda: Processes(loop.worker._store, link).entry(identity).stopping)
        assert not ledger.ended


def test_13_a_job_with_two_crashes_waits_in_quarantine_and_blocks_nobody(
    server: Server, redis_client: redis.Redis
) -> None:
    """Case 13: the killer goes aside, what lay behind it in the queue is claimed by others."""
    killer, innocent = payload(1), payload(2)
    push(redis_client, killer, innocent)
    for _ in range(2):
        seat = Seat(server.url).register()
        with seats(seat), recovering(server.url) as recovery:
            seat.claim()
            recovery.child_died(seat.entry, seat.beat(), [jid_of(killer)], "was killed")
    assert redis_client.lrange("quarantine:default", 0, -1) == [killer]
    assert redis_client.lrange("queue:default", 0, -1) == [innocent]


def test_13_a_success_clears_the_record(server: Server, redis_client: redis.Redis) -> None:
    """Case 13: and so does burying; releasing and retrying do not."""
    with_record = {kind: payload() for kind in OUTCOMES}
    push(redis_client, *with_record.values())
    for job in with_record.values():
        redis_client.hset("crashes", jid_of(job), "1:1")
    seat = Seat(server.url).register()
    with seats(seat):
        claims = {claim.payload: claim for claim in seat.claim()}
        for kind, job in with_record.items():
            seat.settle(claims[job], outcome=OUTCOMES[kind])
    kept = {kind for kind, job in with_record.items() if redis_client.hexists("crashes", jid_of(job))}
    assert kept == {"retry", "release"}


# -- 14: what may still run or be taken


def test_14_a_dead_child_is_condemned_while_its_heartbeat_is_still_there(
    server: Server, redis_client: redis.Redis
) -> None:
    """Case 14: by its last counter; a beat of ours whose answer was lost does not stop it."""
    seat, job = Seat(server.url).register(), payload()
    push(redis_client, job)
    with seats(seat), recovering(server.url) as recovery:
        seat.claim()
        seen = seat.beat()
        seat.beat()  # its answer was lost
        recovery.child_died(seat.entry, seen, [], "was killed")
        assert condemned(redis_client, seat.identity)
        assert redis_client.lrange("queue:default", 0, -1) == [job]
        recovery.child_died(seat.entry, seen, [], "was killed")  # again, as after an error
        assert homes(redis_client) == {jid_of(job): 1}


def test_14_an_inherited_doorbell_is_cut_before_the_verdict(server: Server, redis_client: redis.Redis) -> None:
    """Case 14: somebody still holds the dead process's socket, BLMOVE is pending: the next job is not taken by it."""
    seat, job = Seat(server.url).register(), payload()
    with seats(seat), recovering(server.url) as recovery:
        seat.arm()
        seat.register()  # with the ids of all its connections
        assert len(seat.entry.clients) == 2
        recovery.child_died(seat.entry, seat.beat(), [], "was killed")
        push(redis_client, job)
        assert redis_client.lrange("queue:default", 0, -1) == [job]
        assert not stranded(redis_client)


def test_14_where_client_kill_is_refused_the_walk_brings_the_job_back(
    server: Server, proxy: Proxy, redis_client: redis.Redis
) -> None:
    """Case 14: the pending BLMOVE takes the job for the dead; who walks finds it."""
    seat, job = Seat(proxy.url).register(), payload()
    with seats(seat), recovering(server.url) as recovery, reaping(server.url) as reaper:
        held = proxy.hold(named("BLMOVE"))
        assert seat.claim() == []
        seat.fetch.rest()
        held.wait()
        recovery.child_died(attrs.evolve(seat.entry, clients=()), seat.beat(), [], "was killed")
        push(redis_client, job)
        proxy.deliver(held)
        assert redis_client.lrange(seat.private(), 0, -1) == [job]
        age_beat(redis_client, seat.identity, 5.0)
        reaper.tick()
        assert redis_client.lrange("queue:default", 0, -1) == [job]


def test_14_child_evidence_holds_for_an_absent_heartbeat_and_no_other_does(
    server: Server, redis_client: redis.Redis
) -> None:
    """Case 14: the supervisor is the only one who beats, so for it absent is dead; for others it is not."""
    seat = Seat(server.url).register()
    with seats(seat):
        counter = seat.beat()
        expire(redis_client, seat.identity)
        assert seat.life.condemn(seat.identity, Evidence.COUNTER, counter) == (False, "")
        assert seat.life.condemn(seat.identity, Evidence.WATCH) == (False, "")
        assert seat.life.condemn(seat.identity, Evidence.CHILD, counter) == (True, "")


def test_14_started_jobs_are_read_exactly_as_they_were_at_the_death() -> None:
    """Case 13 and 14: the board holds a job from just before it starts until it is settled."""
    board = Board(allocate(get_context("forkserver"), 2))
    marks = {name: board.start(name) for name in ("a", "b", "c")}
    board.clear(marks["b"])
    assert sorted(board.started()) == ["a", "c"]


# -- at once


@pytest.mark.parametrize("reapers", [2, 10])
def test_many_reapers_at_once_move_each_job_once(reapers: int, server: Server, redis_client: redis.Redis) -> None:
    """Case 10 and 25: in threads, over many dead with two queues each; every crash is charged once."""
    dead = [Seat(server.url, "first", "second").register() for _ in range(20)]
    jobs = [payload(number) for number in range(20 * 30)]
    with seats(*dead):
        for at, seat in enumerate(dead):
            mine = jobs[at * 30 : (at + 1) * 30]
            push(redis_client, *mine[:15], queue="first")
            push(redis_client, *mine[15:], queue="second")
            assert len(seat.claim(30)) == 30
            text = mine[0].decode().replace('"', '\\"')
            seat.own.show_work(seat.identity, {"1": f'{{"payload": "{text}"}}'.encode()})
            expire(redis_client, seat.identity)
            age_beat(redis_client, seat.identity, 30.0)
            age_watch(redis_client, seat.identity, 10.0, 0.1)
    start = Barrier(reapers)
    errors: list[BaseException] = []

    def reap() -> None:
        try:
            with reaping(server.url) as reaper:
                start.wait(5)
                reaper.tick()
                reaper.tick()
        except BaseException as error:
            errors.append(error)
            raise

    threads = [Thread(target=reap) for _ in range(reapers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not errors
    assert homes(redis_client) == Counter(map(jid_of, jobs))
    assert not stranded(redis_client)
    assert sorted(crashes(redis_client).values()) == [1] * 20


def test_a_verdict_is_final_for_a_settle_that_is_on_its_way(
    server: Server, proxy: Proxy, redis_client: redis.Redis
) -> None:
    """Case 7 and 10: a settle is delayed, its sender condemned and its job running elsewhere; then it arrives."""
    old, new, job = Seat(proxy.url).register(), Seat(server.url).register(), payload()
    push(redis_client, job)
    with seats(old, new):
        (claim,) = old.claim()
        held = proxy.hold(script(Library.load().shas["turn"]))
        with pytest.raises(Unreachable):
            old.settle(claim)
        condemn(redis_client, old.identity)
        new.life.reap(old.entry, [], "died")
        (again,) = new.claim()
        proxy.deliver(held)
        assert not redis_client.exists("stat:processed")
        new.settle(again)
        assert redis_client.get("stat:processed") == b"1"
