"""Whole runs: the oracle finds nothing where nothing is wrong, and each single thing that is."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chaos.oracle_ledgers import Book, change
from tests.chaos.oracle_world import World, events_of, later_runs


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_a_run_that_keeps_every_promise_is_clean(seed: int) -> None:
    book = World(seed, jobs=150, seconds=60, replicas=3, lives=8).book
    verdict = book.judge()
    assert verdict.findings == []
    assert verdict.void == ()
    explained = sum(count for name, count in verdict.counts.items() if name.startswith("again"))
    assert explained == sum(count - 1 for count in later_runs(book).values())


def lose_a_job(book: Book) -> None:
    token = book.runs[-1].token
    book.runs = [run for run in book.runs if run.token != token]
    assert book.final is not None
    status = book.final.status | {"processed": book.final.processed - 1}
    book.end(processed=book.final.processed - 1, status=status)


def run_a_job_again(book: Book) -> None:
    last = max((run for run in book.runs if run.outcome == "done"), key=lambda run: run.started_at)
    assert last.ended_at is not None
    book.run(last.token, last.pid, last.ended_at + 5, last.ended_at + 6, attempt=last.attempt)


def forget_a_death(book: Book) -> None:
    struck = {pid for fault in book.faults for pid in fault.pids}
    cut_off = next(run for run in book.runs if run.ended_at is None and run.pid in struck)
    book.faults = [fault for fault in book.faults if cut_off.pid not in fault.pids]


def forget_a_stop(book: Book) -> None:
    interrupted = next(run for run in book.runs if run.outcome == "interrupted")
    pod = interrupted.identity.split(":")[2]
    book.events = [event for event in book.events if event.pod != pod or event.what not in ("prestop", "term")]


def forget_a_failure(book: Book) -> None:
    failed = next(run for run in book.runs if run.outcome == "failed")
    change(book, failed, outcome="done")


def swap_two_fences(book: Book) -> None:
    token = next(iter(later_runs(book)))
    first, then, *_ = [run for run in book.runs if run.token == token]
    book.effects = [effect for effect in book.effects if effect.token != token]
    change(book, first, fence=then.fence)
    change(book, then, fence=first.fence)


def accept_an_old_effect(book: Book) -> None:
    token = next(iter(later_runs(book)))
    first = next(run for run in book.runs if run.token == token)
    book.effect(first, first.fence)


def change_a_byte(book: Book) -> None:
    change(book, book.runs[7], digest="other")


def miss_a_job(book: Book) -> None:
    done = max((run for run in book.runs if run.outcome == "done"), key=lambda run: run.ended_at or 0)
    book.audits[0] = attrs.evolve(book.audits[0], missing=[done.token])


def double_a_job(book: Book) -> None:
    book.audits[0] = attrs.evolve(book.audits[0], doubled={1: ["queue:default", "retry"]})


def count_one_too_many(book: Book) -> None:
    assert book.final is not None
    status = book.final.status | {"processed": book.final.processed + 1}
    book.end(processed=book.final.processed + 1, status=status)


def refuse_a_job_that_ran(book: Book) -> None:
    book.sent[3] = attrs.evolve(book.sent[3], answer="refused")


DEFECTS: list[tuple[Callable[[Book], None], str]] = [
    (lose_a_job, "lost"),
    (refuse_a_job_that_ran, "lost"),
    (change_a_byte, "bytes"),
    (miss_a_job, "conservation"),
    (double_a_job, "conservation"),
    (run_a_job_again, "duplicates"),
    (forget_a_death, "duplicates"),
    (forget_a_stop, "duplicates"),
    (forget_a_failure, "duplicates"),
    (swap_two_fences, "fences"),
    (accept_an_old_effect, "fences"),
    (count_one_too_many, "counters"),
]


@pytest.mark.parametrize(("defect", "check"), DEFECTS, ids=[defect.__name__ for defect, _ in DEFECTS])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_one_defect_among_many_jobs_is_found(defect: Callable[[Book], None], check: str, seed: int) -> None:
    book = World(seed, jobs=600, seconds=120, replicas=3, lives=8).book
    defect(book)
    assert check in {name for name, _ in book.judge().findings}


def test_the_made_up_runs_have_what_they_are_to_be_judged_by() -> None:
    book = World(1, jobs=600, seconds=120, replicas=3, lives=8).book
    assert len(later_runs(book)) > 30
    assert len(book.faults) > 10
    assert events_of(book, "term")
    assert any(audit.missing for audit in book.audits)
    recoveries = book.judge().recoveries
    assert {recovery.kind for recovery in recoveries} >= {"pod", "quarantine"}
    assert any(recovery.bounded for recovery in recoveries)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_long_run_is_judged_in_seconds() -> None:
    """100,000 jobs. Whoever compares all runs with all faults does not come through here within a test's time."""
    book = World(7, jobs=100_000, seconds=1800, audits=5000).book
    assert len(book.runs) > 108_000
    assert len(book.faults) > 500
    run_a_job_again(book)
    assert [name for name, _ in book.judge().findings] == ["duplicates"]
