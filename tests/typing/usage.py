"""What a user writes, for a type checker: each line that is wrong says which error it must give.

Checked, never run. tests/typing/test_usage.py takes the `type: ignore` comments off and expects exactly these errors.
"""

import datetime
from typing import assert_type

from reliq import Attempt, Batch, Config, Job, Reliq, current_attempt

app = Reliq("redis://127.0.0.1:6379/0", namespace="shop", queue="default", retry=3, timeout=60, config=Config(ttl=20.0))


@app.job(queue="mailers", retry=5, timeout=30)
def welcome(user_id: int, template: str = "plain") -> None:
    """Positional, with a default."""


@app.job
def add(left: int, right: int) -> int:
    """Bare decorator, with a result."""
    return left + right


@app.job("SendMail")
def send(*, to: str) -> str:
    """A name of its own, keywords only."""
    return to


@app.job()
async def fetch(url: str) -> bytes:
    """A coroutine."""
    return url.encode()


def right_calls(when: datetime.datetime) -> None:
    """All that must pass."""
    assert_type(welcome.enqueue(42), str)
    assert_type(welcome.enqueue(42, "rich"), str)
    assert_type(welcome.enqueue(user_id=42, template="rich"), str)
    assert_type(send.enqueue(to="a@example.org"), str)
    assert_type(fetch.enqueue("https://example.org"), str)
    assert_type(welcome.enqueue_in(3600, 42, template="rich"), str)
    assert_type(welcome.enqueue_in(0.5, 42), str)
    assert_type(welcome.enqueue_in(datetime.timedelta(hours=1), 42), str)
    assert_type(welcome.enqueue_at(when, 42), str)
    assert_type(welcome.enqueue_at(1_800_000_000.5, 42), str)
    assert_type(welcome.enqueue_many([(1,), (2, "rich")]), list[str])
    assert_type(welcome.using(queue="critical", retry=False).enqueue(42), str)
    with app.batch_enqueue() as batch:
        assert_type(welcome.enqueue(42), str)
    assert_type((batch.collected, batch.enqueued, batch.unsure), tuple[int, int, int])
    assert_type(app.enqueue("SendMail", 42, queue="mailers", retry=0, anything="goes"), str)
    assert_type(app.enqueue_in(60, "SendMail", 42), str)
    assert_type(app.enqueue_at(when, "SendMail", 42), str)
    assert_type(add(1, 2), int)
    welcome(42)


async def right_coroutines() -> None:
    """Coroutines keep their type, and so does enqueueing from one."""
    assert_type(await fetch("https://example.org"), bytes)
    assert_type(await welcome.aenqueue(42, template="rich"), str)
    async with app.batch_enqueue() as batch:
        assert_type(batch, Batch)


def inside_a_job() -> None:
    """What a running job can ask."""
    attempt = current_attempt()
    assert_type(attempt, Attempt)
    assert_type((attempt.jid, attempt.name, attempt.queue, attempt.identity), tuple[str, str, str, str])
    assert_type((attempt.attempt, attempt.crashes, attempt.fence), tuple[int, int, int])


def jobs_have_a_type() -> None:
    """A job can be passed on, with its signature."""
    job: Job[[int, int], int] = add
    job.enqueue(1, 2)
    assert_type(add.using(queue="critical")(1, 2), int)


def wrong_calls(when: datetime.datetime) -> None:
    """All that must not pass."""
    welcome.enqueue("42")  # type: ignore[arg-type]
    welcome.enqueue()  # type: ignore[call-arg]
    welcome.enqueue(42, "rich", 7)  # type: ignore[call-arg]
    welcome.enqueue(42, tempalte="rich")  # type: ignore[call-arg]
    welcome.enqueue(42, template=7)  # type: ignore[arg-type]
    send.enqueue("a@example.org")  # type: ignore[call-arg]
    fetch.enqueue(b"https://example.org")  # type: ignore[arg-type]
    welcome.enqueue_in(3600, "42")  # type: ignore[arg-type]
    welcome.enqueue_in(3600)  # type: ignore[call-arg]
    welcome.enqueue_in("an hour", 42)  # type: ignore[arg-type]
    welcome.enqueue_at("tomorrow", 42)  # type: ignore[arg-type]
    welcome.enqueue_at(when, 42, tempalte="rich")  # type: ignore[call-arg]
    welcome.enqueue_many([1, 2])  # type: ignore[list-item]
    welcome.using(queue="critical").enqueue("42")  # type: ignore[arg-type]
    welcome.using(timeout=3)  # type: ignore[call-arg]
    add("1", 2)  # type: ignore[arg-type]
    app.enqueue(42)  # type: ignore[arg-type]
    job: Job[[str], int] = add  # type: ignore[assignment]
    job.enqueue("1")


async def wrong_coroutines() -> None:
    """The same for what is awaited."""
    await welcome.aenqueue("42")  # type: ignore[arg-type]
    await welcome.aenqueue()  # type: ignore[call-arg]
    await welcome.aenqueue(42, "rich", 7)  # type: ignore[call-arg]


@app.job(retry="often")  # type: ignore[call-overload, untyped-decorator]
def tried() -> None:
    """An option of the wrong type."""
