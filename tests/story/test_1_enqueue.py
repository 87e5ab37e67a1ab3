"""First part: a function becomes a job, and goes into Redis."""

import asyncio
import datetime
import re
import time

import pytest

from reliq import BadArguments, NoAttempt, current_attempt
from tests.story.conftest import Shop, waiting
from tests.story.shop import app, branch, fetch, send_mail, welcome, welcome_at_branch


def test_a_job_is_still_a_function(shop: Shop) -> None:
    """Calling it runs it here and now, and returns what it returns; Redis is not asked."""
    assert welcome(shop.book, "Ada") == "Ada is welcome"
    assert asyncio.run(fetch(shop.book, "https://example.org")) is None
    assert shop.lines() == ["welcome Ada (plain)", "fetched https://example.org"]
    assert shop.waiting() == {}


def test_enqueue_puts_it_into_its_queue(shop: Shop) -> None:
    """Every job gets an id of 24 hexadecimal digits, and waits in the queue that its definition names."""
    jid = welcome.enqueue(shop.book, "Ada", template="rich")
    other = send_mail.enqueue(shop.book, "ada@example.org")
    assert re.fullmatch("[0-9a-f]{24}", jid)
    assert jid != other
    assert shop.waiting() == {"default": 1, "mailers": 1}
    assert shop.lines() == []


def test_using_changes_queue_and_retries_of_one_call(shop: Shop) -> None:
    """The job itself stays what it was."""
    welcome.using(queue="critical", retry=0).enqueue(shop.book, "Ada")
    welcome.enqueue(shop.book, "Bob")
    assert shop.waiting() == {"critical": 1, "default": 1}


def test_a_job_can_be_scheduled(shop: Shop) -> None:
    """In so many seconds, after a timedelta, or for an aware datetime; until then it is in no queue."""
    welcome.enqueue_in(3600, shop.book, "Ada")
    welcome.enqueue_in(datetime.timedelta(hours=1), shop.book, "Bob")
    welcome.enqueue_at(datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1), shop.book, "Eve")
    welcome.enqueue_at(time.time() + 3600, shop.book, "Joe")
    status = shop.status()
    assert status["scheduled"] == 4
    assert waiting(status) == {}


def test_many_jobs_in_one_call(shop: Shop) -> None:
    """One tuple of arguments per job; the ids come back in the same order."""
    jids = welcome.enqueue_many((shop.book, f"guest {number}") for number in range(2500))
    assert len(set(jids)) == 2500
    assert shop.waiting() == {"default": 2500}


def test_what_is_enqueued_in_a_batch_is_sent_together(shop: Shop) -> None:
    """The ids are there at once, the jobs when the block has ended; each queue keeps the order of the calls."""
    with app.batch_enqueue() as batch:
        jids = [welcome.enqueue(shop.book, f"guest {number}", template="rich") for number in range(10)]
        send_mail.using(queue="critical").enqueue(shop.book, "ada@example.org")
        app.enqueue("Billing::Invoice", 42, queue="ruby")
        welcome.enqueue_in(3600, shop.book, "Ada")
        assert shop.waiting() == {}
    assert len(set(jids)) == 10
    assert batch.enqueued == 13
    status = shop.status()
    assert waiting(status) == {"critical": 1, "default": 10, "ruby": 1}
    assert status["scheduled"] == 1
    shop.worker(concurrency=1)
    shop.wait_for(*(f"welcome guest {number} (rich)" for number in range(10)))
    assert shop.lines() == [f"welcome guest {number} (rich)" for number in range(10)]


def test_a_batch_that_fails_sends_nothing_more(shop: Shop) -> None:
    """The error has a note that says how many jobs had been sent: full thousands only."""

    def invite(*guests: object) -> None:
        with app.batch_enqueue():
            for guest in guests:
                welcome.enqueue(shop.book, guest)  # type: ignore[arg-type]

    with pytest.raises(BadArguments) as refused:
        invite(*map(str, range(1200)), b"Ada")
    assert refused.value.__notes__ == ["1,000 of the 1,200 jobs of the batch are enqueued, the others are not"]
    assert shop.waiting() == {"default": 1000}


def test_a_coroutine_can_batch_too(shop: Shop) -> None:
    """So can the tasks that it starts in the block. Redis is waited for without blocking the event loop."""

    async def invite() -> None:
        async with app.batch_enqueue():
            await asyncio.gather(*(welcome.aenqueue(shop.book, f"guest {number}") for number in range(1200)))

    asyncio.run(invite())
    assert shop.waiting() == {"default": 1200}


def test_a_coroutine_enqueues_without_blocking(shop: Shop) -> None:
    """`aenqueue` is `enqueue` for whoever has an event loop."""

    async def both() -> tuple[str, str]:
        return await asyncio.gather(welcome.aenqueue(shop.book, "Ada"), welcome.aenqueue(shop.book, "Bob"))

    assert len(set(asyncio.run(both()))) == 2
    assert shop.waiting() == {"default": 2}


def test_a_job_can_be_named_instead_of_imported(shop: Shop) -> None:
    """For code that another program runs, in Python or Ruby. A name that is known here keeps its own queue."""
    app.enqueue("Billing::Invoice", 42, queue="ruby")
    app.enqueue("SendMail", shop.book, "ada@example.org")
    app.enqueue_in(60, "SendMail", shop.book, "ada@example.org")
    app.enqueue_at(time.time() + 60, "SendMail", shop.book, "ada@example.org")
    status = shop.status()
    assert waiting(status) == {"mailers": 1, "ruby": 1}
    assert status["scheduled"] == 2


def test_the_command_line_enqueues_too(shop: Shop) -> None:
    """Arguments are JSON; what is printed is the id."""
    assert re.fullmatch(
        "[0-9a-f]{24}\n", shop.reliq("enqueue", "SendMail", '"book"', '{"to": ["ada"]}', "-q", "mailers")
    )
    shop.reliq("enqueue", "SendMail", "1.5", "null", "true", "--in", "60")
    status = shop.status()
    assert waiting(status) == {"mailers": 1}
    assert status["scheduled"] == 1


def test_namespaces_are_shops_of_their_own(shop: Shop) -> None:
    """Two applications on one Redis that never see each other's jobs."""
    welcome.enqueue(shop.book, "Ada")
    welcome_at_branch.enqueue(shop.book, "Bob")
    welcome_at_branch.enqueue(shop.book, "Eve")
    assert branch.config.namespace == "shop-two"
    assert shop.waiting() == {"default": 1}
    assert shop.reliq("queues", "--json", "--namespace", "shop-two")[0]["size"] == 2


def test_arguments_that_do_not_fit_are_refused_at_once(shop: Shop) -> None:
    """The caller hears of it, not a worker hours later. The type checker says so earlier still."""
    with pytest.raises(BadArguments, match=r"missing a required argument: 'name'"):
        welcome.enqueue(shop.book)  # type: ignore[call-arg]
    with pytest.raises(BadArguments, match=r"argument 2: bytes is not JSON"):
        welcome.enqueue(shop.book, b"Ada")  # type: ignore[arg-type]
    assert shop.waiting() == {}


def test_outside_of_a_job_there_is_no_attempt() -> None:
    """`current_attempt` is for code inside of a job."""
    with pytest.raises(NoAttempt):
        current_attempt()
