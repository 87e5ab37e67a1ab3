"""Second part: a worker runs jobs, and what becomes of those that fail."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.story.conftest import Shop, waiting
from tests.story.shop import app, charge, fetch, misbehave, send_mail, set_price, think, welcome, welcome_at_branch


def test_a_worker_runs_the_jobs_of_its_queues(shop: Shop) -> None:
    """Functions and coroutines, from every queue it was given, with the arguments they were enqueued with."""
    welcome.enqueue(shop.book, "Zoë ❤", template="rich")
    fetch.enqueue(shop.book, "https://example.org")
    send_mail.enqueue(shop.book, "ada@example.org")
    shop.worker("default", "mailers")
    shop.wait_for("welcome Zoë ❤ (rich)", "fetched https://example.org", "mail to ada@example.org")
    status = shop.settled(processed=3, failed=0)
    assert waiting(status) == {"default": 0, "mailers": 0}


def test_an_idle_worker_starts_a_new_job_at_once(shop: Shop) -> None:
    """Nobody polls: the job arrives by itself, also when the worker was there first."""
    shop.worker()
    welcome.enqueue(shop.book, "Ada")
    shop.wait_for("welcome Ada")


def test_one_thread_keeps_the_order(shop: Shop) -> None:
    """First in, first out; with one thread they also finish so."""
    welcome.enqueue_many((shop.book, str(number)) for number in range(200))
    shop.worker(concurrency=1)
    shop.wait_for("welcome 199")
    assert shop.lines() == [f"welcome {number} (plain)" for number in range(200)]


def test_queues_without_weights_are_taken_in_order(shop: Shop) -> None:
    """All of the first queue, then the second."""
    for number in range(5):
        welcome.enqueue(shop.book, str(number))
        welcome.using(queue="critical").enqueue(shop.book, f"first {number}")
    shop.worker("critical", "default", concurrency=1)
    shop.wait_for("welcome 4")
    first = [f"welcome first {number} (plain)" for number in range(5)]
    assert shop.lines() == first + [f"welcome {number} (plain)" for number in range(5)]


def test_a_scheduled_job_runs_when_it_is_due(shop: Shop) -> None:
    """Jobs whose time lies in the past run at once."""
    shop.worker()
    welcome.enqueue_in(0.3, shop.book, "soon")
    welcome.enqueue_in(3600, shop.book, "later")
    welcome.enqueue_at(0, shop.book, "long ago")
    shop.wait_for("welcome soon", "welcome long ago")
    status = shop.settled(processed=2, scheduled=1)
    assert waiting(status) == {"default": 0}


def test_a_job_that_fails_is_retried_and_ends_among_the_dead(shop: Shop, due_now: Callable[[str], None]) -> None:
    """With `retry=1` there are two attempts; nothing is lost, and an operator can see why."""
    charge.enqueue(shop.book, "Ada")
    shop.worker()
    shop.settled(processed=1, failed=1, retries=1, dead=0)
    due_now("retry")
    shop.settled(processed=2, failed=2, retries=0, dead=1)
    assert shop.lines() == ["attempt 1 to charge Ada", "attempt 2 to charge Ada"]


def test_what_retry_means(shop: Shop) -> None:
    """0: straight to the dead. False: forgotten. A number or True: tried again."""
    for retry in (0, False, 3, True):
        charge.using(retry=retry).enqueue(shop.book, f"customer {retry}")
    shop.worker()
    shop.settled(processed=4, failed=4, retries=2, dead=1)


def test_a_job_that_takes_too_long_is_interrupted(shop: Shop) -> None:
    """`timeout` raises JobTimeout inside the job, so that it can clean up; then it has failed."""
    think.enqueue(shop.book)
    shop.worker()
    shop.wait_for("JobTimeout in a thought")
    shop.settled(processed=1, failed=1, dead=1)


def test_a_name_that_nobody_knows_is_kept(shop: Shop) -> None:
    """It may come with the next deploy: tried again later, not lost."""
    app.enqueue("BrandNew", 42)
    shop.worker()
    shop.settled(processed=1, failed=1, retries=1)


def test_a_paused_queue_rests(shop: Shop) -> None:
    """Nobody claims from it until it is resumed; other queues go on."""
    welcome.enqueue(shop.book, "Ada")
    send_mail.enqueue(shop.book, "ada@example.org")
    assert shop.reliq("queues", "pause", "default") == "default is paused\n"
    shop.worker("default", "mailers")
    shop.wait_for("mail to ada@example.org")
    assert waiting(shop.settled(processed=1)) == {"default": 1, "mailers": 0}
    assert shop.reliq("queues", "resume", "default") == "default is resumed\n"
    shop.wait_for("welcome Ada")


def test_namespaces_have_workers_of_their_own(shop: Shop) -> None:
    """The worker of one shop does not run the jobs of the other, though both know a `welcome`."""
    shop.worker(app="tests.story.shop:branch", wait=False)
    welcome.enqueue(shop.book, "Ada")
    welcome_at_branch.enqueue(shop.book, "Bob")
    shop.wait_for("branch welcomes Bob")
    assert shop.waiting() == {"default": 1}
    shop.worker()
    shop.wait_for("welcome Ada")
    assert len(shop.lines()) == 2


def test_a_fence_number_decides_who_writes_last(shop: Shop, tmp_path: Path) -> None:
    """Numbers grow with every attempt: a run that lost its race leaves the newer price alone."""
    database = tmp_path / "prices.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE prices (item TEXT PRIMARY KEY, price INTEGER, fence INTEGER)")
        connection.execute("INSERT INTO prices VALUES ('tea', 1, 0), ('cup', 1, 9000000000000000000)")
        connection.commit()
        shop.worker()
        set_price.enqueue(str(database), "tea", 3)
        set_price.enqueue(str(database), "cup", 3)
        shop.settled(processed=2, failed=0)
        prices = connection.execute("SELECT item, price FROM prices ORDER BY item").fetchall()
    assert prices == [("cup", 1), ("tea", 3)]


def test_a_job_that_kills_its_process_is_stopped_in_the_end(shop: Shop) -> None:
    """Two crashes send it into quarantine, where it runs alone; the third buries it. Its neighbours are done."""
    misbehave.enqueue(shop.book)
    for number in range(5):
        welcome.enqueue(shop.book, str(number))
    shop.worker(processes=2)
    shop.settled(dead=1)
    shop.wait_for(*(f"welcome {number}" for number in range(5)))
    assert [line for line in shop.lines() if "misbehave" in line] == [
        f"misbehave, crashes {count}" for count in range(3)
    ]
