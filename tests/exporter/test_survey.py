"""reliq.survey: what waits, what runs and who works, each job counted once."""

import threading
import time
from typing import Any

import pytest
import redis

from chaos.proxy import Proxy
from chaos.servers import Server
from reliq import survey as module
from reliq.errors import Refused, Unreachable
from reliq.store.opening import Store
from reliq.store.paces import Ran
from reliq.store.processes import Processes
from reliq.survey import Surveyor
from tests.exporter.conftest import ID, OTHER_ID, Stage, queue_of
from tests.store.conftest import OpenStore

COMMANDS = {"GET", "ZCARD", "ZCOUNT", "SMEMBERS", "HGETALL", "MULTI", "EXEC", "HKEYS", "LLEN", "LINDEX", "HMGET"}
"""All that it asks; `docs/metrics.md` tells whoever writes an ACL."""

DEAD_ID = "web-3:9:00000000dead"


def test_an_empty_server(surveyor: Surveyor) -> None:
    found = surveyor.survey()
    assert (found.processed, found.failed, found.trimmed) == (0, 0, 0)
    assert (found.scheduled, found.retries, found.dead, found.due) == (0, 0, 0, 0)
    assert (found.queues, found.processes) == ([], [])


def test_counters_and_sets(surveyor: Surveyor, redis_client: redis.Redis) -> None:
    redis_client.mset({"stat:processed": 7, "stat:failed": 3, "stat:trimmed": 2})
    now = time.time()
    redis_client.zadd("schedule", {"a": now - 5, "b": now + 60})
    redis_client.zadd("retry", {"c": now - 1, "d": now - 2, "e": now + 60})
    redis_client.zadd("dead", {"f": 1})
    found = surveyor.survey()
    assert (found.processed, found.failed, found.trimmed) == (7, 3, 2)
    assert (found.scheduled, found.retries, found.dead, found.due) == (2, 3, 1, 3)


def test_queues(surveyor: Surveyor, stage: Stage, redis_client: redis.Redis) -> None:
    stage.process(ID, ("mail", "low"))
    stage.process(DEAD_ID, ("mail",), alive=False)
    redis_client.set(f"heartbeat:{OTHER_ID}", "fenced", ex=60)
    stage.process(OTHER_ID, ("mail",), alive=False)
    stage.waiting("mail", 1, age=30)
    stage.waiting("mail", 2)
    stage.jobs(f"private:{ID}:mail", 3)
    stage.jobs(f"private:{DEAD_ID}:mail", 1)
    stage.jobs(f"private:{OTHER_ID}:mail", 1)
    stage.jobs("quarantine:low", 2)
    redis_client.sadd("paused", "low")
    redis_client.hset("pace", "mail", "4:2:1700000000.0")
    found = surveyor.survey()
    assert found.orphans == 2
    assert [queue.name for queue in found.queues] == ["low", "mail"]
    mail = queue_of(found, "mail")
    oldest = mail.pop("oldest")
    assert isinstance(oldest, float)
    assert 30 <= oldest < 60
    assert mail == {
        "waiting": 3,
        "paused": False,
        "held": 3,
        "orphaned": 2,
        "quarantined": 0,
        "ran": Ran(4.0, 2.0),
    }
    assert queue_of(found, "low") == {
        "waiting": 0,
        "oldest": None,
        "paused": True,
        "held": 0,
        "orphaned": 0,
        "quarantined": 2,
        "ran": Ran(0.0, 0.0),
    }


def test_jobs_that_do_not_tell_their_age_and_names_that_are_none(surveyor: Surveyor, redis_client: redis.Redis) -> None:
    redis_client.sadd("queues", "mail", b"\xff")
    redis_client.lpush("queue:mail", b"\xff not json")
    redis_client.hset("pace", "mail", "a few")
    found = surveyor.survey()
    assert [queue.name for queue in found.queues] == ["mail"]
    assert (found.queues[0].waiting, found.queues[0].oldest, found.queues[0].ran) == (1, None, Ran(0.0, 0.0))


@pytest.mark.parametrize(
    ("fields", "shown", "held", "expected"),
    [
        ({}, {}, 3, {"busy": 3, "quiet": False, "idle": 1, "works": True}),
        ({}, {"busy": "0", "quiet": "false"}, 9, {"busy": 4, "quiet": False, "idle": 0, "works": True}),
        ({}, {"busy": "0", "quiet": "true"}, 1, {"busy": 1, "quiet": True, "idle": 0, "works": True}),
        ({"stopping": True}, {}, 1, {"busy": 1, "quiet": True, "idle": 0, "works": True}),
        ({"quarantine": True}, {}, 1, {"busy": 1, "quiet": False, "idle": 0, "works": False}),
        ({"superfetch": False}, {"busy": "3"}, 0, {"busy": 3, "quiet": False, "idle": 1, "works": True}),
        ({"superfetch": False}, {}, 0, {"busy": 0, "quiet": False, "idle": 4, "works": True}),
        ({"alive": False}, {"busy": "3"}, 1, {"busy": 1, "quiet": False, "idle": 0, "works": False}),
    ],
    ids=["plain", "ahead", "quiet", "stopping", "quarantine", "brpop", "brpop-new", "dead"],
)
def test_processes(
    surveyor: Surveyor,
    stage: Stage,
    *,
    fields: dict[str, Any],
    shown: dict[str, str],
    held: int,
    expected: dict[str, Any],
) -> None:
    stage.process(shown=shown, **fields)
    stage.jobs(f"private:{ID}:mail", held)
    [process] = surveyor.survey().processes
    assert process.held == held
    assert {name: getattr(process, name) for name in expected} == expected


def test_a_namespace(open_store: OpenStore, redis_client: redis.Redis) -> None:
    redis_client.sadd("shop:queues", "mail")
    redis_client.lpush("shop:queue:mail", "x")
    surveyor = Surveyor(open_store(namespace="shop"))
    assert [(queue.name, queue.waiting) for queue in surveyor.survey().queues] == [("mail", 1)]
    surveyor.close()


def test_a_queue_that_has_become_empty_meanwhile_has_no_old_job(
    surveyor: Surveyor, stage: Stage, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.waiting("mail", 1, age=50)
    asked = surveyor._oldest

    def late(names: list[str]) -> dict[str, float]:
        redis_client.delete("queue:mail")
        return asked(names)

    monkeypatch.setattr(surveyor, "_oldest", late)
    assert [(queue.waiting, queue.oldest) for queue in surveyor.survey().queues] == [(1, 0.0)]


# -- nothing is missed


def test_a_job_on_its_way_is_counted_once(surveyor: Surveyor, stage: Stage, redis_client: redis.Redis) -> None:
    # So many that the server reads the commands in several goes, with others' in between.
    for number in range(300):
        stage.process(f"web-{number}:1:0123456789ab")
    stage.waiting("mail", 1)
    ends = [f"private:web-{number}:1:0123456789ab:mail" for number in (0, 299)]
    lists = ["queue:mail", ends[0], ends[1], "queue:mail", ends[1], ends[0]]
    ended = threading.Event()

    def move() -> None:
        while not ended.is_set():
            for source, target in zip(lists, [*lists[1:], lists[0]], strict=True):
                redis_client.lmove(source, target)

    mover = threading.Thread(target=move)
    mover.start()
    try:
        seen = [(queue.waiting, queue.held) for _ in range(50) for queue in surveyor.survey().queues]
    finally:
        ended.set()
        mover.join()
    assert {waiting + held for waiting, held in seen} == {1}
    assert len(set(seen)) == 2, "it was seen in the queue and in private lists"


def test_the_first_claim_of_a_process_that_joins_meanwhile_is_not_missed(
    surveyor: Surveyor, stage: Stage, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.waiting("mail", 1)
    asked = surveyor._lengths
    joined: list[bool] = []

    def late(outline: Any) -> Any:
        if not joined:
            joined.append(True)
            stage.process(ID)
            redis_client.lmove("queue:mail", f"private:{ID}:mail")
        return asked(outline)

    monkeypatch.setattr(surveyor, "_lengths", late)
    found = surveyor.survey()
    assert (found.queues[0].waiting, found.queues[0].held) == (0, 1)
    assert [process.entry.identity for process in found.processes] == [ID]


def test_a_fleet_in_which_somebody_joins_all_the_time_is_read_nevertheless(
    surveyor: Surveyor, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = surveyor._lengths
    joined: list[str] = []

    def late(outline: Any) -> Any:
        joined.append(f"web-{len(joined)}:1:0123456789ab")
        stage.process(joined[-1])
        return asked(outline)

    monkeypatch.setattr(surveyor, "_lengths", late)
    # In any order: they come from a hash.
    assert {process.entry.identity for process in surveyor.survey().processes} == set(joined[: module.TRIES - 1])


def test_a_fleet_that_is_too_large_for_one_transaction(
    surveyor: Surveyor, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        stage.process(f"web-{number}:1:0123456789ab", ("a", "b"))
        stage.jobs(f"private:web-{number}:1:0123456789ab:b", number)
        stage.waiting(f"q{number}", number + 1)
    whole = surveyor.survey()
    monkeypatch.setattr(module, "AT_ONCE", 3)
    monkeypatch.setattr(module, "PIECE", 2)
    pieces = surveyor.survey()
    assert [queue.waiting for queue in pieces.queues] == [0, 0, 1, 2, 3, 4, 5]
    assert sum(queue.held for queue in pieces.queues) == 10
    assert pieces.processes == whole.processes


def test_it_costs_three_round_trips_and_asks_for_nothing_by_pattern(
    store: Store, stage: Stage, redis_client: redis.Redis
) -> None:
    for number in range(20):
        stage.process(f"web-{number}:1:0123456789ab", ("a", "b"))
        stage.waiting(f"q{number}", 1)
    surveyor = Surveyor(store)
    surveyor.survey()
    redis_client.config_resetstat()
    surveyor.survey()
    surveyor.close()
    counted = {name.removeprefix("cmdstat_").partition("|")[0].upper() for name in redis_client.info("commandstats")}
    assert counted - {"CONFIG", "INFO", "CLIENT"} == COMMANDS


def test_a_user_who_may_only_read_is_enough(
    server: Server, open_store: OpenStore, stage: Stage, redis_client: redis.Redis
) -> None:
    stage.process(ID)
    stage.waiting("mail", 1)
    allowed = [f"+{name.lower()}" for name in COMMANDS]
    redis_client.acl_setuser("reader", enabled=True, nopass=True, keys=["*"], commands=allowed)
    try:
        surveyor = Surveyor(open_store(f"unix://reader:x@{server.socket}"))
        assert surveyor.survey().queues[0].waiting == 1
        surveyor.close()
    finally:
        redis_client.acl_deluser("reader")


# -- trouble


def test_what_cannot_be_read_is_said_and_not_taken_for_nothing(surveyor: Surveyor, redis_client: redis.Redis) -> None:
    redis_client.sadd("queues", "mail")
    redis_client.set("queue:mail", "x")
    with pytest.raises(Refused, match="WRONGTYPE"):
        surveyor.survey()
    redis_client.delete("queue:mail")
    assert surveyor.survey().queues[0].waiting == 0


def test_after_an_outage_it_reads_again(proxy: Proxy, open_store: OpenStore, stage: Stage) -> None:
    stage.waiting("mail", 1)
    surveyor = Surveyor(open_store(proxy.url))
    assert surveyor.survey().queues[0].waiting == 1
    proxy.refuse()
    proxy.cut()
    with pytest.raises(Unreachable):
        surveyor.survey()
    proxy.accept()
    assert surveyor.survey().queues[0].waiting == 1
    surveyor.close()


# -- the pace


def test_paces_of_several_processes_are_one_mean(store: Store, surveyor: Surveyor, redis_client: redis.Redis) -> None:
    link = store.link("test")
    processes = Processes(store, link)
    processes.show_pace({}, 1000.0)
    assert redis_client.exists("pace") == 0
    redis_client.sadd("queues", "mail", "low")
    processes.show_pace({"mail": Ran(10, 1.0), "low": Ran(1, 7.0)}, 1000.0)
    processes.show_pace({"mail": Ran(30, 1.0)}, 1000.0)
    assert redis_client.hgetall("pace") == {b"mail": b"40:2:1000.000", b"low": b"1:7:1000.000"}
    processes.show_pace({"mail": Ran(1, 2.0)}, 1060.0)
    assert redis_client.hget("pace", "mail") == b"21:3:1060.000"
    processes.show_pace({"mail": Ran(1, 0.0)}, 1000.0)
    assert redis_client.hget("pace", "mail") == b"22:3:1000.000", "a clock that stepped back loses nothing"
    found = {queue.name: queue.ran for queue in surveyor.survey().queues}
    assert found == {"mail": Ran(22.0, 3.0), "low": Ran(1.0, 7.0)}
    assert found["low"].mean == 7.0
    link.close()


def test_a_pace_that_is_refused_stops_nobody(open_store: OpenStore, redis_client: redis.Redis) -> None:
    store = open_store()
    link = store.link("test")
    redis_client.acl_setuser("weak", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-hset"])
    try:
        link.call("AUTH", "weak", "x")
        Processes(store, link).show_pace({"mail": Ran(1, 1.0)}, 1.0)
        assert link.call("PING") == b"PONG"
    finally:
        link.close()
        redis_client.acl_deluser("weak")
