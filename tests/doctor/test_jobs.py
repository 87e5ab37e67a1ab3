"""What the doctor says about queues and sets."""

import re
import time
from typing import Any

import pytest
import redis

from reliq.doctor import Level
from tests.doctor.conftest import OTHER, Doctor, Enter
from tests.doctor.test_fleet import job, ruby

JOBS = ("queues", "schedule", "quarantine", "dead set")


def push(client: redis.Redis, queue: str = "mail", count: int = 1) -> None:
    """Put jobs into a queue, as a producer does."""
    client.sadd("queues", queue)
    for number in range(count):
        client.lpush(f"queue:{queue}", job(number, queue))


def test_an_empty_server(doctor: Doctor) -> None:
    assert doctor(*JOBS).keys() == {"ok"}


def test_a_queue_that_nobody_takes_from(doctor: Doctor, enter: Enter, redis_client: redis.Redis) -> None:
    push(redis_client, "mial", 2)
    assert doctor("queues")["unconsumed-queues"].what == "jobs wait, and nobody takes them: mial (2 jobs)"
    enter(queues=("mail",))
    assert doctor("queues")["unconsumed-queues"].level is Level.WARNING
    enter(OTHER, queues=("mial",))
    assert doctor("queues").keys() == {"ok"}


@pytest.mark.parametrize("field", ["stopping", "quarantine"])
def test_a_process_that_takes_nothing_does_not_count(
    doctor: Doctor, enter: Enter, redis_client: redis.Redis, field: str
) -> None:
    push(redis_client)
    fields: dict[str, Any] = {field: True}
    enter(**fields)
    assert "unconsumed-queues" in doctor("queues")


def test_a_queue_that_ruby_takes_from(doctor: Doctor, redis_client: redis.Redis) -> None:
    push(redis_client)
    ruby(redis_client)
    assert doctor("queues").keys() == {"ok"}


def test_an_empty_queue_without_a_worker(doctor: Doctor, enter: Enter, redis_client: redis.Redis) -> None:
    redis_client.sadd("queues", "old")
    enter()
    assert doctor("queues")["unwatched-queues"].level is Level.NOTE
    redis_client.srem("queues", "old")  # what it says is to be done
    assert doctor("queues").keys() == {"ok"}


def test_a_paused_queue(doctor: Doctor, enter: Enter, redis_client: redis.Redis) -> None:
    enter()
    push(redis_client)
    redis_client.sadd("paused", "mail")
    assert doctor("queues")["paused-queues"].what == "paused: mail (1 jobs)"


def test_many_queues_are_named_in_part(doctor: Doctor, redis_client: redis.Redis) -> None:
    for name in "abcde":
        push(redis_client, name)
    assert doctor("queues")["unconsumed-queues"].what.endswith("c (1 jobs) and 2 more")


def test_jobs_in_quarantine(doctor: Doctor, enter: Enter, redis_client: redis.Redis) -> None:
    enter()
    redis_client.lpush("quarantine:mail", job())
    assert doctor("quarantine")["quarantine"].what == "jobs in quarantine: mail (1)"


@pytest.mark.parametrize("name", ["schedule", "retry"])
def test_jobs_that_are_due_and_stay(doctor: Doctor, redis_client: redis.Redis, name: str) -> None:
    redis_client.zadd(name, {job(1): time.time() + 60, job(2): time.time() - 3})
    assert doctor("schedule").keys() == {"ok"}, "one that has been due for 3 s may still come"
    redis_client.zadd(name, {job(3): time.time() - 100})
    found = doctor("schedule")["not-promoted"]
    assert found.level is Level.PROBLEM
    assert re.fullmatch(rf"1 jobs are due and lie in `{name}`, the oldest since 1\d\d s", found.what)


def test_jobs_are_due_in_both(doctor: Doctor, redis_client: redis.Redis) -> None:
    redis_client.zadd("schedule", {job(1): 1})
    redis_client.zadd("retry", {job(2): time.time() - 100})
    assert (
        "2 jobs are due and lie in `schedule` and `retry`, the oldest since 1,"
        in doctor("schedule")["not-promoted"].what
    )


@pytest.mark.parametrize(("count", "names"), [(79, {"ok"}), (81, {"dead-nearly-full"})])
def test_the_dead_set(doctor: Doctor, redis_client: redis.Redis, count: int, names: set[str]) -> None:
    redis_client.zadd("dead", {job(number): number for number in range(count)})
    assert doctor("dead set", dead_limit=100).keys() == names


def test_dead_jobs_that_were_dropped(doctor: Doctor, redis_client: redis.Redis) -> None:
    redis_client.set("stat:trimmed", 1234)
    assert doctor("dead set")["dead-dropped"].what == "1,234 dead jobs were dropped so far"
