"""What the doctor says about the living, and about what the dead have left."""

import json
import re
import time
from typing import Any

import pytest
import redis

from chaos.eventually import eventually
from chaos.servers import Server
from reliq import __version__
from reliq.clock import SystemClock
from reliq.config import Config
from reliq.doctor import Level
from reliq.doctor import fleet as checks
from reliq.job import encode
from reliq.server.reaper import Reaper
from reliq.store.opening import Store
from tests.doctor.conftest import ID, OTHER, Doctor, Enter
from tests.store.conftest import QUICK

FLEET = ("heartbeats", "reaping", "orphans", "versions", "sidekiq")


def job(number: int = 0, queue: str = "mail") -> bytes:
    """A job."""
    return encode("A", [number], {}, jid=f"{number:024x}", queue=queue, retry=True, now=7.5)


def test_nobody_is_there(doctor: Doctor) -> None:
    found = doctor(*FLEET)
    assert found.keys() == {"ok", "no-worker"}
    assert found["no-worker"].level is Level.NOTE


def test_a_fleet_that_is_well(doctor: Doctor, enter: Enter) -> None:
    enter()
    enter(OTHER)
    assert doctor(*FLEET).keys() == {"ok"}
    assert doctor("heartbeats")["ok"].what == "2 processes beat in time"


def test_beats_that_are_late(doctor: Doctor, enter: Enter, redis_client: redis.Redis) -> None:
    enter()
    redis_client.zincrby("beats", -0.6, ID)  # three beats ago
    found = doctor("heartbeats")
    assert found.keys() == {"late-beats"}
    assert ID in found["late-beats"].what


@pytest.mark.parametrize("ttl", [4.0, 20.0])
def test_another_ttl(doctor: Doctor, enter: Enter, ttl: float) -> None:
    enter(ttl=ttl)
    found = doctor("heartbeats", ttl=10.0)
    assert found.keys() == {"other-ttl"}
    assert f"another TTL than 10 s: {ID}" in found["other-ttl"].what


@pytest.mark.parametrize(
    ("ahead", "said"), [(90.0, "(89|90) s ahead"), (-90.0, "(90|91) s behind"), (0.0, ""), (-5.0, "")]
)
def test_the_clock_of_another_machine(
    doctor: Doctor, enter: Enter, redis_client: redis.Redis, ahead: float, said: str
) -> None:
    enter()
    redis_client.hset(ID, "beat", repr(time.time() + ahead))
    redis_client.pexpire(ID, 60_000)
    found = doctor("heartbeats")
    assert found.keys() == ({"host-clocks"} if said else {"ok"})
    assert not said or re.search(said, found["host-clocks"].what)


def die(client: redis.Redis, ago: float, *payloads: bytes) -> None:
    """Let the process have beaten for the last time so many seconds ago, with jobs in its hands."""
    client.delete(f"heartbeat:{ID}")
    client.zincrby("beats", -ago, ID)
    for payload in payloads:
        client.lpush(f"private:{ID}:mail", payload)


def test_a_dead_process_whose_jobs_nobody_brings_back(doctor: Doctor, enter: Enter, redis_client: redis.Redis) -> None:
    enter()
    die(redis_client, 5.0, job())
    assert "not-reaped" not in doctor("reaping"), "it may still be watched"
    die(redis_client, 60.0)
    found = doctor("reaping")["not-reaped"]
    assert found.level is Level.PROBLEM
    assert ID in found.what
    redis_client.delete(f"private:{ID}:mail")
    assert doctor("reaping").keys() == {"ok"}, "one that left nothing is no trouble"


@pytest.mark.parametrize("namespace", ["", "test-a", "{shop}"])
def test_jobs_in_nobodys_hands_and_how_they_come_back(
    doctor: Doctor, server: Server, redis_client: redis.Redis, namespace: str
) -> None:
    prefix = namespace and f"{namespace}:"
    for number in range(3):
        redis_client.lpush(f"{prefix}private:{ID}:mail", job(number))
    redis_client.lpush(f"{prefix}private:{ID}:a:b", job(3, "a:b"))
    redis_client.sadd(f"{prefix}queues", "mail", "a:b")
    found = doctor("orphans", namespace=namespace)["orphaned-jobs"]
    assert found.level is Level.PROBLEM
    assert found.what == f"4 jobs lie in private queues that nobody looks after: {ID}"
    # What it says is to be done.
    assert found.do.startswith("ZADD beats 0 OWNER")
    redis_client.zadd(f"{prefix}beats", {ID: 0})
    store = Store(Config(url=server.url, namespace=namespace, **QUICK))
    reaper = Reaper(store, SystemClock())

    def back() -> bool:
        reaper.tick()
        return redis_client.llen(f"{prefix}queue:mail") == 3 and redis_client.llen(f"{prefix}queue:a:b") == 1

    eventually(back, 10, "a reaper brings them back")
    reaper.close()
    store.close()
    assert doctor("orphans", namespace=namespace).keys() == {"ok"}


def test_what_a_process_of_the_fleet_holds_is_in_good_hands(
    doctor: Doctor, enter: Enter, redis_client: redis.Redis
) -> None:
    enter()
    redis_client.lpush(f"private:{ID}:mail", job())
    assert doctor("orphans").keys() == {"ok"}
    die(redis_client, 60.0)
    assert doctor("orphans").keys() == {"ok"}, "dead, but in the walk"


def test_another_namespace_is_none_of_its_business(doctor: Doctor, redis_client: redis.Redis) -> None:
    redis_client.lpush(f"test-a:private:{ID}:mail", job())
    assert doctor("orphans").keys() == {"ok"}
    # A pattern would match it; a name does not.
    assert doctor("orphans", namespace="test-?").keys() == {"ok"}


def test_a_search_that_takes_too_long_is_given_up(
    doctor: Doctor, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    with redis_client.pipeline() as pipe:
        for number in range(3000):
            pipe.lpush(f"scratch:{number}", "x")
        pipe.execute()
    monkeypatch.setattr(checks, "SCAN_SECONDS", 0.0)
    found = doctor("orphans")
    assert found.keys() == {"orphans-looked-in-part"}
    assert "about 1,000 of 3,000 keys" in found["orphans-looked-in-part"].what


def test_versions(doctor: Doctor, enter: Enter) -> None:
    enter()
    assert doctor("versions")["ok"].what == f"1 processes, all with {__version__}"
    enter(OTHER, version="0.0.9")
    assert doctor("versions")["old-versions"].what == f"older than this reliq {__version__}: 1 processes with 0.0.9"
    enter(OTHER, version="")
    assert "1 processes with no version" in doctor("versions")["old-versions"].what
    enter(OTHER, version="99.0.0")
    assert doctor("versions")["newer-versions"].level is Level.NOTE


def ruby(client: redis.Redis, **info: Any) -> None:
    """Let a Sidekiq process show itself."""
    client.sadd("processes", OTHER)
    client.hset(OTHER, "info", json.dumps({"hostname": "web", "tag": "shop", "queues": ["mail"], **info}))
    client.pexpire(OTHER, 60_000)


def test_ruby_processes_are_named(doctor: Doctor, redis_client: redis.Redis) -> None:
    ruby(redis_client)
    assert OTHER in doctor("sidekiq")["sidekiq"].what
    ruby(redis_client, tag="reliq")
    assert doctor("sidekiq").keys() == {"ok"}
    redis_client.hset(OTHER, "info", "not JSON")
    assert doctor("sidekiq").keys() == {"ok"}
