"""The crash budget: how often a killer may run, which crashes may go uncounted, and who may be buried."""

from __future__ import annotations

import pytest

from chaos.oracle.strikes import SETTLE_WITHIN
from tests.chaos.oracle_ledgers import Book

LIMIT = 3


def killer(runs: int, kind: str = "killer", **settings: object) -> Book:
    """A killer that has killed the same process, as it were, so often, 10 s apart from 100 s on; buried at the end."""
    book = Book(**settings)
    book.job(1, kind=kind, expected="buried")
    for number in range(runs):
        run_and_die(book, 1, 100.0 + 10 * number)
    book.home(1, "dead")
    return book


def run_and_die(book: Book, token: int, at: float, pid: int = 11) -> None:
    """A run that ends its process, as it was seen."""
    book.run(token, pid, at, identity=f"box:{pid}:{at}")
    detail = {"kind": "child"}
    book.fault("suicide", "dead", at, pid, ended_at=at + 0.1, observed=True, target="job", detail=detail)


class TestKillers:
    @pytest.mark.parametrize("kind", ["killer", "segfault", "exit", "leaves", "hog"])
    def test_within_the_budget(self, kind: str) -> None:
        check = killer(LIMIT + 1, kind).check("crashes")
        assert check.ok
        assert check.judged == 1

    def test_one_run_too_many(self) -> None:
        assert killer(LIMIT + 2).found("crashes") == ["job 1 (killer) ran 5 times; the crash budget allows 4"]

    def test_the_limit_is_what_the_settings_say(self) -> None:
        assert not killer(6, crash_limit=5).found("crashes")
        assert killer(7, crash_limit=5).found("crashes")

    def test_a_killer_that_never_ran_is_not_judged(self) -> None:
        assert killer(0).check("crashes").judged == 0

    @pytest.mark.parametrize("sign", ["prestop", "term"])
    def test_a_crash_in_a_stop_does_not_count(self, sign: str) -> None:
        book = killer(LIMIT + 2)
        book.event("a-1", sign, 139.9)
        assert not book.found("crashes")

    def test_a_stop_of_another_pod_does_not_matter(self) -> None:
        book = killer(LIMIT + 2)
        book.event("b-1", "term", 139.9)
        assert len(book.found("crashes")) == 1

    def test_a_stop_after_the_crash_does_not_matter(self) -> None:
        book = killer(LIMIT + 2)
        book.event("a-1", "term", 140.5)
        assert len(book.found("crashes")) == 1

    def test_a_crash_of_an_orphan_does_not_count(self) -> None:
        book = killer(LIMIT + 2)
        book.kill(139, 10, kind="main")
        assert not book.found("crashes")

    @pytest.mark.parametrize(("after", "findings"), [(0.9, 0), (1.9, 1)])
    def test_a_whole_pod_that_dies_within_a_beat_of_the_start(self, after: float, findings: int) -> None:
        book = killer(LIMIT + 1, "hog")
        book.run(1, 21, 150)
        book.kill(150 + after, 20, 21, 22, kind="pod", target="b-1")
        assert len(book.found("crashes")) == findings

    def test_a_supervisor_that_dies_with_the_process_has_not_told_it_to_stop(self) -> None:
        book = killer(LIMIT)
        for number, (pod, main) in enumerate((("b-1", 20), ("c-1", 30))):
            book.run(1, main + 1, 150 + 10 * number)
            book.kill(155 + 10 * number, main, main + 1, main + 2, kind="pod", target=pod)
        assert len(book.found("crashes")) == 1

    def test_what_happens_long_after_the_last_run_does_not_matter(self) -> None:
        book = killer(LIMIT + 2)
        book.kill(300, 10, kind="main")
        book.fault("half-open", "held", 300, 11, ended_at=310)
        book.fault("redis-kill", "undone", 310, outage=True, ended_at=311)
        assert len(book.found("crashes")) == 1

    def test_the_supervisor_dies_before_it_brought_the_job_back(self) -> None:
        book = killer(LIMIT + 2)
        book.kill(140.3, 10, 12, kind="pod", target="a-1")
        assert not book.found("crashes")

    def test_another_supervisor_dies(self) -> None:
        book = killer(LIMIT + 2)
        book.kill(140.3, 20, 21, 22, kind="pod", target="b-1")
        assert len(book.found("crashes")) == 1

    def test_a_run_that_ended_by_its_own_word_is_no_crash(self) -> None:
        book = killer(LIMIT + 1)
        book.run(1, 21, 90, 91, "interrupted")
        assert not book.found("crashes")

    def test_its_process_was_held_up(self) -> None:
        book = killer(LIMIT + 2)
        book.fault("half-open", "held", 139, 11, ended_at=150)
        assert not book.found("crashes")

    def test_another_process_was_held_up(self) -> None:
        book = killer(LIMIT + 2)
        book.fault("half-open", "held", 139, 21, ended_at=150)
        assert len(book.found("crashes")) == 1

    def test_redis_may_have_lost_the_record(self) -> None:
        book = killer(LIMIT + 2)
        book.fault("redis-kill", "undone", 111, outage=True, ended_at=111.5)
        assert not book.found("crashes")

    def test_a_loss_before_it_ran(self) -> None:
        book = killer(LIMIT + 2)
        book.fault("redis-kill", "undone", 90, outage=True, ended_at=91)
        assert len(book.found("crashes")) == 1

    def test_an_uncounted_crash_allows_one_run_more_and_not_two(self) -> None:
        book = killer(LIMIT + 3)
        book.fault("redis-kill", "undone", 115, outage=True, ended_at=115.5)
        assert len(book.found("crashes")) == 1


class TestNeighbours:
    def buried(self, *deaths: float, pid: int = 11) -> Book:
        """An innocent job that was running at each of these deaths of its process, and lies in the dead set."""
        book = Book()
        for number, at in enumerate(deaths):
            book.run(1, pid, at - 1, identity=f"box:{pid}:{number}")
            book.kill(at, pid)
        book.job(1)
        book.home(1, "dead")
        return book

    def test_it_is_done(self) -> None:
        book = Book()
        book.run(1, 11, 100)
        book.kill(101, 11)
        book.run(1, 21, 102, 103)
        check = book.check("crashes")
        assert check.ok
        assert check.judged == 1, "a job whose process died is worth a look"

    def test_it_is_buried_after_fewer_crashes(self) -> None:
        book = self.buried(100, 110)
        assert book.found("crashes") == ["job 1 (work) was buried after 2 crashes of processes that ran it"]

    def test_it_is_buried_without_any(self) -> None:
        assert len(self.buried().found("crashes")) == 1

    @pytest.mark.parametrize(("before", "found"), [(0.1, 0), (0.5, 1)])
    def test_a_process_that_died_while_it_was_beginning_jobs(self, before: float, found: int) -> None:
        """It may have begun this one as well, and been killed before the job's first line."""
        book = self.buried(100, 110)
        book.job(2)
        book.run(2, 31, 103 - before, identity="box:31:x")
        book.kill(103, 31)
        assert len(book.found("crashes")) == found

    def test_its_processes_really_died_so_often(self) -> None:
        book = self.buried(100, 110, 120)
        assert not book.found("crashes")
        assert book.judge().counts["innocent buried by crashes"] == 1

    def test_its_process_was_condemned_so_often(self) -> None:
        book = self.buried(100, 110)
        book.run(1, 31, 130, 170)
        book.fault("half-open", "held", 131, 31, ended_at=150)
        book.run(1, 21, 149, 150, "failed")
        assert not book.found("crashes")

    def test_deaths_in_a_stop_do_not_count(self) -> None:
        book = self.buried(100, 110, 120)
        book.event("a-1", "term", 120 - SETTLE_WITHIN - 0.1)
        assert len(book.found("crashes")) == 1

    def test_a_stop_that_nobody_knew_of_yet_does_not_help(self) -> None:
        book = self.buried(100, 110, 120)
        book.event("a-1", "term", 120 - SETTLE_WITHIN / 2)
        assert not book.found("crashes")

    def test_deaths_of_others_do_not_count(self) -> None:
        book = self.buried(100, 110)
        book.run(1, 21, 119, 130)
        book.kill(120, 22)
        assert len(book.found("crashes")) == 1

    def test_runs_that_were_settled_before_do_not_count(self) -> None:
        book = self.buried(100, 110)
        book.run(1, 21, 119, 120, "failed")
        book.kill(120 + SETTLE_WITHIN + 0.1, 21)
        assert len(book.found("crashes")) == 1

    def test_other_ends_are_for_others_to_judge(self) -> None:
        book = Book()
        book.job(1, kind="stranger", expected="any")
        book.home(1, "dead")
        assert not book.found("crashes")


def buried_after_a_hold(at: float) -> Book:
    """An innocent after two kills that finished then; its process was frozen at `at`, and it lies in `dead`."""
    book = Book()
    book.run(1, 11, 100)
    book.kill(101, 11)
    book.run(1, 21, 102)
    book.kill(103, 21)
    book.run(1, 31, 104, 105)
    book.fault("freeze-pod", "held", at, 30, 31, 32, ended_at=at + 30)
    book.home(1, "dead")
    return book


def test_an_innocent_whose_last_process_was_condemned_before_it_had_settled() -> None:
    assert buried_after_a_hold(105.5).check("crashes").ok


def test_a_hold_long_after_its_end_is_no_crash() -> None:
    assert len(buried_after_a_hold(115.0).found("crashes")) == 1
