"""Jobs that were handed back are not overtaken."""

from __future__ import annotations

from tests.chaos.oracle_ledgers import Book

SLOTS = 3 * 2 * 4


def handed_back(newer: int, *, queue: str = "default", again: float = 130.0) -> Book:
    """A job that is interrupted at 101 s and runs again, and `newer` jobs of its queue that start before that."""
    book = Book()
    book.event("a-1", "term", 100.5)
    book.run(1, 11, 100, 101, "interrupted")
    for token in range(2, 2 + newer):
        book.job(token, queue=queue, sent_at=100.2, known_at=100.3)
        book.run(token, 21, 104.0 + token / 100, 105.0)
    book.run(1, 21, again, again + 1)
    return book


def test_a_job_that_is_overtaken_by_more_than_the_slots() -> None:
    book = handed_back(SLOTS + 1)
    assert book.found("order") == [
        f"{SLOTS + 1} newer jobs of its queue started before job 1, which had been handed back"
    ]
    assert book.check("order").judged == 1


def test_as_many_as_there_are_slots_may_have_been_claimed() -> None:
    assert handed_back(SLOTS).check("order").ok


def test_jobs_of_another_queue_are_not_newer_ones_of_this() -> None:
    assert handed_back(SLOTS + 1, queue="critical").check("order").ok


def test_what_starts_while_its_process_still_unwinds_does_not_count() -> None:
    book = handed_back(0)
    for token in range(2, SLOTS + 4):
        book.job(token, sent_at=100.2, known_at=100.3)
        book.run(token, 21, 101.5, 105.0)
    assert book.check("order").ok


def test_older_jobs_do_not_overtake() -> None:
    book = handed_back(0)
    for token in range(2, SLOTS + 4):
        book.job(token, sent_at=4.0, known_at=4.1)
        book.run(token, 21, 104.0, 105.0)
    assert book.check("order").ok
