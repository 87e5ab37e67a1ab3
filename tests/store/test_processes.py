"""reliq.store.processes: the fleet, its heartbeats, the verdict, and the way back of jobs."""

import threading
from collections.abc import Iterator
from typing import Any

import attrs
import orjson
import pytest
import redis

from chaos.eventually import eventually
from chaos.servers import Server
from reliq.errors import Unreachable
from reliq.job import encode
from reliq.outcome import Done
from reliq.store.claims import Claim, Condemned, Ending, Holding, Portion
from reliq.store.connection import Link, disconnect
from reliq.store.opening import Store
from reliq.store.processes import Entry, Evidence, Look, Processes, Reaped, new_identity
from tests.store.conftest import OpenStore

ID = "web:7:0123456789ab"
OTHER = "web:8:ba9876543210"
ENTRY = Entry(
    identity=ID,
    host="web",
    pid=7,
    queues=("mail", "low"),
    started=7.5,
    concurrency=10,
    run_id="abc",
    clients=(3, 4),
    version="1",
)


@pytest.fixture
def processes(store: Store, link: Link) -> Processes:
    """The verbs under test."""
    return Processes(store, link)


@pytest.fixture
def weak(server: Server, redis_client: redis.Redis, open_store: OpenStore) -> Iterator[Processes]:
    """The same for a user who may not use CLIENT."""
    redis_client.acl_setuser("weak", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-client"])
    store = open_store(f"unix://weak:x@{server.socket}")
    link = store.link("weak")
    yield Processes(store, link)
    link.close()
    redis_client.acl_deluser("weak")


def job(jid: str) -> bytes:
    """A job of this id."""
    return encode("A", [], {}, jid=jid, queue="mail", retry=True, now=7.5)


def hold(client: redis.Redis, *payloads: bytes, queue: str = "mail") -> None:
    """What the process claimed, the first one first."""
    client.lpush(f"private:{ID}:{queue}", *payloads)


def condemn(client: redis.Redis) -> None:
    """Declare the process under test dead."""
    client.set(f"heartbeat:{ID}", "fenced", px=86_400_000)


def last_beat(client: redis.Redis, seconds_ago: float) -> None:
    """Let the last beat of the process under test be so long ago."""
    seconds, micros = client.time()
    client.zadd("beats", {ID: seconds + micros / 1e6 - seconds_ago})


# -- the living


def test_identities_are_new_each_time() -> None:
    found = {new_identity("web", 7) for _ in range(100)}
    assert len(found) == 100
    assert all(name.startswith("web:7:") and len(name) == 18 for name in found)


def test_who_registers_is_in_the_fleet_and_alive(processes: Processes) -> None:
    assert processes.entries() == []
    counter = processes.register(ENTRY)
    assert processes.entries() == [(ENTRY, True)]
    assert processes.entry(ID) == ENTRY
    assert processes.suspect(ID) == Look("alive", counter=counter)
    assert processes.overdue(0.5) == []
    assert int(processes.beat(ID)) == int(counter) + 1


def test_to_register_again_writes_the_entry_anew(processes: Processes) -> None:
    processes.register(ENTRY)
    processes.register(attrs.evolve(ENTRY, stopping=True))
    assert processes.entry(ID).stopping


def test_a_heartbeat_ends_with_its_ttl(processes: Processes, redis_client: redis.Redis) -> None:
    processes.register(ENTRY)
    assert 0 < redis_client.pttl(f"heartbeat:{ID}") <= 1000
    eventually(lambda: not redis_client.exists(f"heartbeat:{ID}"))
    assert processes.entries() == [(ENTRY, False)]
    # Late, and alive again under the same name.
    processes.beat(ID)
    assert processes.entries() == [(ENTRY, True)]


def test_who_is_late(processes: Processes, redis_client: redis.Redis) -> None:
    processes.register(attrs.evolve(ENTRY, identity=OTHER))
    last_beat(redis_client, 3)
    [(name, seconds)] = processes.overdue(2)
    assert name == ID
    assert 2.999 <= seconds < 5  # whole milliseconds
    eventually(lambda: [name for name, _ in processes.overdue(0)] == [ID, OTHER])


def test_a_condemned_process_neither_beats_nor_registers(processes: Processes, redis_client: redis.Redis) -> None:
    condemn(redis_client)
    with pytest.raises(Condemned, match=ID):
        processes.beat(ID)
    with pytest.raises(Condemned, match=ID):
        processes.register(ENTRY)
    assert redis_client.exists("fleet", "beats") == 0


def test_what_is_shown(processes: Processes, redis_client: redis.Redis) -> None:
    assert processes.show(ID, {"busy": 2, "beat": 7.5, "quiet": "false"}) is None
    assert redis_client.smembers("processes") == {ID.encode()}
    assert redis_client.hgetall(ID) == {b"busy": b"2", b"beat": b"7.5", b"quiet": b"false"}
    redis_client.lpush(f"{ID}-signals", "TSTP", "TERM")
    redis_client.expire(f"{ID}-signals", 60)
    assert [processes.show(ID, {"busy": 2}) for _ in range(3)] == ["TSTP", "TERM", None]
    processes.show_work(ID, {"t1": b"{}"})
    assert redis_client.hgetall(f"{ID}:work") == {b"t1": b"{}"}
    processes.show_work(ID, {})
    assert redis_client.exists(f"{ID}:work") == 0


@pytest.mark.parametrize(("ttl", "shown_ms"), [(1.0, 60_000), (30.0, 94_500)])
def test_the_view_outlives_the_proof_of_a_death(ttl: float, shown_ms: int, open_store: OpenStore, link: Link) -> None:
    assert Processes(open_store(ttl=ttl), link).shown_ms == shown_ms


# -- entries


def test_entries_are_kept_whole() -> None:
    entry = attrs.evolve(ENTRY, quarantine=True, stopping=True)
    assert Entry.of_json(ID, entry.to_json()) == entry
    assert Entry.of_json(OTHER, entry.to_json()).identity == OTHER


@pytest.mark.parametrize("text", [None, b"", b"broken", b"5", b"[]", b"null", b"{}", b'{"queues":null,"clients":null}'])
def test_an_entry_that_cannot_be_read_names_no_queue(text: bytes | None) -> None:
    assert Entry.of_json(ID, text) == Entry(identity=ID, host="", pid=0, queues=(), started=0.0)


def test_an_entry_of_a_newer_version_is_read() -> None:
    text = orjson.dumps({"host": "web", "pid": 7, "queues": ["mail"], "started": 7.5, "moods": ["good"]})
    assert Entry.of_json(ID, text) == Entry(identity=ID, host="web", pid=7, queues=("mail",), started=7.5)


def test_a_lost_entry_names_every_queue(processes: Processes, redis_client: redis.Redis) -> None:
    redis_client.sadd("queues", "mail", "low")
    assert processes.entry(ID).queues == ("low", "mail")


# -- the verdict


def test_a_missing_heartbeat_is_watched_and_then_condemned(
    processes: Processes, store: Store, redis_client: redis.Redis
) -> None:
    assert processes.condemn(ID, Evidence.WATCH) == (False, "")
    looks = []

    def look() -> bool:
        looks.append(processes.suspect(ID))
        return processes.condemn(ID, Evidence.WATCH)[0]

    eventually(look)
    assert {one.state for one in looks} == {"missing"}
    confirm_ms = store.config.confirm_after * 1000
    assert looks[0].watched_ms == 0
    assert looks[-2].watched_ms < confirm_ms <= looks[-1].watched_ms + 100
    assert processes.suspect(ID) == Look("fenced")
    assert processes.condemn(ID, Evidence.WATCH) == (True, "")
    assert redis_client.exists("suspects") == 0


def test_a_gap_in_the_watch_starts_it_over(processes: Processes, redis_client: redis.Redis) -> None:
    seconds, _ = redis_client.time()
    redis_client.hset("suspects", ID, f"{(seconds - 60) * 1000}:{(seconds - 4) * 1000}")
    assert processes.condemn(ID, Evidence.WATCH) == (False, "")
    assert processes.suspect(ID) == Look("missing", watched_ms=0)
    assert processes.condemn(ID, Evidence.WATCH) == (False, "")


def test_a_beat_ends_the_watch(processes: Processes, redis_client: redis.Redis) -> None:
    seconds, _ = redis_client.time()
    redis_client.hset("suspects", ID, f"{(seconds - 60) * 1000}:{seconds * 1000}")
    counter = processes.beat(ID)
    assert processes.condemn(ID, Evidence.WATCH) == (False, counter)
    redis_client.delete(f"heartbeat:{ID}")
    assert processes.condemn(ID, Evidence.WATCH) == (False, "")


@pytest.mark.parametrize("evidence", [Evidence.COUNTER, Evidence.CHILD])
def test_a_counter_condemns_only_if_it_has_not_moved(evidence: Evidence, processes: Processes) -> None:
    old = processes.register(ENTRY)
    new = processes.beat(ID)
    assert processes.condemn(ID, evidence, old) == (False, new)
    assert processes.condemn(ID, evidence, new) == (True, "")
    with pytest.raises(Condemned):
        processes.beat(ID)


@pytest.mark.parametrize(("evidence", "dead"), [(Evidence.COUNTER, False), (Evidence.CHILD, True)])
def test_a_missing_heartbeat_and_a_counter(evidence: Evidence, dead: bool, processes: Processes) -> None:
    assert processes.condemn(ID, evidence, "41") == (dead, "")


# -- the way back


def test_everything_goes_back_in_its_old_order(processes: Processes, redis_client: redis.Redis) -> None:
    hold(redis_client, job("a"), b"broken", job("c"))
    hold(redis_client, job("d"), queue="low")
    redis_client.rpush("queue:mail", "waiting")
    condemn(redis_client)
    reaped = processes.reap(ENTRY, [], "killed")
    assert sorted(reaped.public) == sorted([job("a"), b"broken", job("c"), job("d")])
    assert (reaped.quarantined, reaped.buried, reaped.total) == ([], [], 4)
    assert redis_client.lrange("queue:mail", 0, -1)[::-1] == [job("a"), b"broken", job("c"), b"waiting"]
    assert redis_client.lrange("queue:low", 0, -1) == [job("d")]
    assert redis_client.exists("crashes") == 0
    assert processes.reap(ENTRY, [], "killed").total == 0


def test_the_living_are_not_reaped(processes: Processes, redis_client: redis.Redis) -> None:
    processes.register(ENTRY)
    hold(redis_client, job("a"))
    assert processes.reap(ENTRY, ["a"], "killed").total == 0
    assert redis_client.llen(f"private:{ID}:mail") == 1


def test_crashes_of_started_jobs_lead_to_quarantine_and_death(processes: Processes, redis_client: redis.Redis) -> None:
    condemn(redis_client)
    endings = []
    reaped = Reaped()
    for _ in range(3):
        hold(redis_client, job("innocent"), job("killer"))
        reaped = processes.reap(ENTRY, ["killer"], 'killed by "9"')
        endings.append((len(reaped.public), len(reaped.quarantined), len(reaped.buried)))
        redis_client.delete("queue:mail", "quarantine:mail")
    assert endings == [(2, 0, 0), (1, 1, 0), (1, 0, 1)]
    [buried] = reaped.buried
    assert redis_client.zrange("dead", 0, -1) == [buried]
    reason = orjson.loads(buried)
    assert buried.startswith(job("killer")[:-1])
    assert (reason["error_class"], reason["error_message"]) == ("Crashed", 'killed by "9"')
    assert redis_client.exists("crashes") == 0


def test_who_was_told_to_stop_did_not_crash(processes: Processes, redis_client: redis.Redis) -> None:
    condemn(redis_client)
    hold(redis_client, job("a"))
    assert processes.reap(attrs.evolve(ENTRY, stopping=True), ["a"], "stopped").public == [job("a")]
    assert redis_client.exists("crashes") == 0


def test_a_success_clears_the_crashes(
    processes: Processes, store: Store, link: Link, redis_client: redis.Redis
) -> None:
    condemn(redis_client)
    hold(redis_client, job("a"))
    processes.reap(ENTRY, ["a"], "killed")
    assert redis_client.hkeys("crashes") == [b"a"]
    holding = Holding(store, OTHER, ["mail"])
    [claimed] = holding.turn(link, [], {0: Portion(0, 1)}, 1, 7.5).claims
    holding.turn(link, [Ending(Claim(claimed.payload, 0, OTHER), Done(), "a")], {}, 0, 7.5)
    assert redis_client.exists("crashes") == 0


@pytest.mark.parametrize("reapers", [1, 2, 10])
def test_any_number_of_reapers(reapers: int, store: Store, processes: Processes, redis_client: redis.Redis) -> None:
    payloads = [job(f"{number:05}") for number in range(5000)]
    hold(redis_client, *payloads)
    condemn(redis_client)
    started = ["00000", "02500", "04999"]
    totals: list[int] = []

    def reap() -> None:
        link = store.link("reaper")
        totals.append(Processes(store, link).reap(ENTRY, started, "killed").total)
        link.close()

    threads = [threading.Thread(target=reap) for _ in range(reapers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(totals) == 5000
    assert redis_client.lrange("queue:mail", 0, -1)[::-1] == payloads
    assert [count[:2] for count in redis_client.hmget("crashes", started)] == [b"1:"] * 3  # type: ignore[index]
    assert redis_client.hlen("crashes") == 3


def test_a_sweep_that_was_interrupted_is_taken_up(
    processes: Processes, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    payloads = [job(f"{number:05}") for number in range(2500)]
    hold(redis_client, *payloads)
    condemn(redis_client)
    call, calls = processes.link.call, 0

    def once(*command: Any) -> Any:
        nonlocal calls
        calls += command[0] == "EVALSHA"
        if calls == 2:
            raise Unreachable("the reaper is killed here")
        return call(*command)

    processes.reap(attrs.evolve(ENTRY, queues=("none",)), [], "the script is known")
    with monkeypatch.context() as patch:
        patch.setattr(processes.link, "call", once)
        with pytest.raises(Unreachable):
            processes.reap(ENTRY, ["00000"], "killed")
    assert redis_client.llen("queue:mail") == 1000
    assert processes.reap(ENTRY, ["00000"], "killed").total == 1500
    assert redis_client.lrange("queue:mail", 0, -1)[::-1] == payloads


def test_started_jobs_as_they_were_last_shown(processes: Processes) -> None:
    entries = {
        "t1": orjson.dumps({"queue": "mail", "payload": job("a").decode()}),
        "t2": orjson.dumps({"payload": "broken"}),
        "t3": b"broken",
        "t4": b"[]",
        "t5": b'{"payload":5}',
    }
    processes.show_work(ID, entries)
    started = processes.started_by_work(ID)
    assert len(started) == 2
    assert "a" in started


# -- leaving


def test_who_holds_jobs_may_not_leave(processes: Processes, redis_client: redis.Redis) -> None:
    processes.register(ENTRY)
    hold(redis_client, job("a"), job("b"))
    hold(redis_client, job("c"), queue="low")
    assert processes.leave(ID, ENTRY.queues) == 3
    assert processes.entries() == [(ENTRY, True)]
    redis_client.delete(f"private:{ID}:mail", f"private:{ID}:low")
    processes.show(ID, {"busy": 0})
    assert processes.leave(ID, ENTRY.queues) == 0
    assert processes.entries() == [(ENTRY, False)]
    assert redis_client.exists("processes", ID) == 0
    with pytest.raises(Condemned):
        processes.beat(ID)


def test_the_dead_are_forgotten_after_a_quarter_of_an_hour(processes: Processes, redis_client: redis.Redis) -> None:
    processes.register(ENTRY)
    assert not processes.forget(ENTRY)
    processes.leave(ID, ENTRY.queues)
    last_beat(redis_client, 890)
    assert not processes.forget(ENTRY)
    last_beat(redis_client, 901)
    hold(redis_client, job("late"), queue="low")
    assert not processes.forget(ENTRY)
    processes.reap(ENTRY, [], "killed")
    assert processes.forget(ENTRY)
    assert processes.entries() == []
    assert processes.overdue(0) == []
    assert redis_client.get(f"heartbeat:{ID}") == b"fenced"
    assert not processes.forget(ENTRY)


# -- connections


def test_connections_that_the_server_still_has(processes: Processes, store: Store) -> None:
    living, dying = store.link("living"), store.link("dying")
    numbers = [living.identify() or 0, dying.identify() or 0]
    assert processes.connected([*numbers, 999_999]) == set(numbers)
    run = living.run_id
    disconnect(processes.link, [("another run", numbers[0]), ("", numbers[0]), (run, numbers[1]), (run, 999_999)])
    assert processes.connected(numbers) == {numbers[0]}
    with pytest.raises(Unreachable):
        dying.call("PING")
    living.close()
    eventually(lambda: processes.connected(numbers) == set())


def test_where_client_is_refused_nothing_is_known_and_nothing_breaks(weak: Processes) -> None:
    assert weak.connected([1]) is None
    disconnect(weak.link, [("some run", 1), ("", 2)])
    assert weak.entries() == []
