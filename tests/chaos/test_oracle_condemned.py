"""Second runs of jobs whose process was held up, stuck in a stop, or whose writes Redis lost; and their near misses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.oracle.strikes import GRAIN, LOSE_WITHIN, SETTLE_WITHIN
from tests.chaos.oracle_ledgers import Book

MOMENTS = st.integers(1, 20_000).map(lambda ms: ms / 1000)


class TestHeld:
    def book(self, *, end: float | None = 140, outcome: str | None = "done") -> Book:
        book = Book()
        book.run(1, 11, 100, end, outcome)  # type: ignore[arg-type]
        book.run(1, 21, 122, 123)
        return book

    @pytest.mark.parametrize("end", [None, 110.0, 140.0])
    def test_its_process_may_have_been_condemned(self, end: float | None) -> None:
        book = self.book(end=end, outcome=None if end is None else "done")
        book.fault("freeze-pod", "held", 101, 10, 11, 12, ended_at=130)
        assert book.again() == {"again: freeze-pod": 1}

    def test_a_healthy_job_runs_twice_at_once(self) -> None:
        assert "a healthy job runs twice at once" in self.book().found("duplicates")[0]

    def test_a_death_in_between_is_no_cause_for_one_that_went_on(self) -> None:
        book = self.book()
        book.kill(121, 11)
        assert "runs twice at once" in book.found("duplicates")[0]

    @pytest.mark.parametrize(
        ("pids", "begin", "end"),
        [((21, 22), 101, 130), ((11,), 122.1, 130), ((11,), 80, 100 - GRAIN - 0.1), ((), 101, 130)],
        ids=["another", "later", "before", "nobody"],
    )
    def test_what_held_it_was_something_else(self, pids: tuple[int, ...], begin: float, end: float) -> None:
        book = self.book()
        book.fault("freeze-pod", "held", begin, *pids, ended_at=end)
        assert len(book.found("duplicates")) == 1

    def test_the_whole_machine_stood_still(self) -> None:
        book = self.book()
        book.fault("standstill", "held", 101, ended_at=130, observed=True, target="machine")
        assert book.again() == {"again: standstill": 1}

    def test_one_that_holds_for_ever(self) -> None:
        book = self.book(end=None, outcome=None)
        book.fault("freeze-pod", "held", 101, 11)
        assert not book.found("duplicates")

    def test_a_thread_that_was_frozen_before_its_first_line(self) -> None:
        book = Book()
        book.fault("freeze-pod", "held", 100, 10, 11, 12, ended_at=130)
        book.run(1, 21, 122, 123, "failed")
        book.run(1, 11, 130.1, 131)
        book.run(1, 31, 140, 141, attempt=2)
        assert book.again() == {"again: failure": 1, "again: freeze-pod": 1}
        assert not book.found("duplicates")

    @pytest.mark.parametrize(("begin", "pid"), [(131.0, 11), (130.1, 31)], ids=["long after", "another"])
    def test_a_run_that_begins_late_without_having_been_frozen(self, begin: float, pid: int) -> None:
        book = Book()
        book.fault("freeze-pod", "held", 100, 10, 11, 12, ended_at=130)
        book.run(1, 21, 122, 123)
        book.run(1, pid, begin, 132)
        assert len(book.found("duplicates")) == 1


class TestRedisLostWrites:
    def book(self, start: float, end: float | None, then: float, **changes: object) -> Book:
        book = Book(**changes)
        book.run(1, 11, start, end)
        book.run(1, 21, then, then + 1)
        book.fault("redis-restart", "undone", 110, outage=True, ended_at=111)
        return book

    def test_the_settle_is_undone(self) -> None:
        assert self.book(90, 110 - LOSE_WITHIN, 112).again() == {"again: redis-restart": 1}

    def test_the_settle_was_too_old_for_that(self) -> None:
        book = self.book(90, 109.9 - LOSE_WITHIN - SETTLE_WITHIN, 112)
        assert len(book.found("duplicates")) == 1

    def test_the_claim_is_undone_while_it_runs(self) -> None:
        assert not self.book(109, 120, 112).found("duplicates")

    def test_the_claim_was_too_old_for_that(self) -> None:
        assert "twice at once" in self.book(100, 120, 112).found("duplicates")[0]

    def test_it_began_after_the_loss(self) -> None:
        assert len(self.book(112, 113, 114).found("duplicates")) == 1

    @pytest.mark.parametrize("end", [109.0, 120.0, None])
    def test_it_ran_again_before_the_loss(self, end: float | None) -> None:
        assert len(self.book(108.5, end, 109.5).found("duplicates")) == 1

    def test_everything_is_lost(self) -> None:
        book = self.book(20, 21, 112)
        assert len(book.found("duplicates")) == 1
        book.faults.clear()
        book.fault("redis-empty", "undone", 110, outage=True, ended_at=111, detail={"all": True})
        assert not book.found("duplicates")

    def test_nothing_is_lost_when_every_write_is_synced(self) -> None:
        assert len(self.book(90, 108.5, 112, durability="always").found("duplicates")) == 1

    def test_everything_is_lost_without_a_file(self) -> None:
        assert not self.book(20, 21, 112, durability="none").found("duplicates")


class TestStuckInAStop:
    """A supervisor kills a process whose jobs do not unwind, timeout and grace after SIGTERM."""

    def book(self, then: float, end: float | None = None, **changes: object) -> Book:
        book = Book(**({"stop": 4.0} | changes))
        book.run(1, 11, 100, end)
        book.event("a-1", "prestop", 101)
        book.event("a-1", "term", 102)
        book.members("a-1", 106.5, 10, main=10)
        book.run(1, 21, then, then + 1)
        return book

    def test_it_is_killed_and_runs_elsewhere(self) -> None:
        assert self.book(106.6).again() == {"again: stop": 1}

    def test_not_before_its_time(self) -> None:
        assert len(self.book(105.9).found("duplicates")) == 1

    def test_sooner_if_it_was_told_twice(self) -> None:
        book = self.book(105.0)
        book.event("a-1", "term", 102.3)
        assert book.again() == {"again: stop": 1}

    def test_not_before_it_was_told_twice(self) -> None:
        book = self.book(104.0)
        book.event("a-1", "term", 104.5)
        assert len(book.found("duplicates")) == 1

    def test_not_if_nobody_knows_that_time(self) -> None:
        assert len(self.book(106.6, stop=None).found("duplicates")) == 1

    def test_not_if_it_had_ended_in_order(self) -> None:
        book = self.book(106.6)
        book.event("a-1", "end", 104)
        assert len(book.found("duplicates")) == 1

    def test_not_if_it_was_done(self) -> None:
        assert len(self.book(106.6, 103).found("duplicates")) == 1

    def test_done_but_redis_was_away(self) -> None:
        book = self.book(106.6, 103)
        book.fault("redis-freeze", "none", 102.5, outage=True, ended_at=115)
        assert not book.found("duplicates")

    def test_an_orphan_leaves_without_what_does_not_unwind(self) -> None:
        book = Book(stop=4.0)
        book.run(1, 11, 100)
        book.kill(102, 10, kind="main")
        book.run(1, 21, 109, 110)
        assert book.again() == {"again: stop": 1}


@given(begin=MOMENTS, long=MOMENTS, start=MOMENTS, wait=MOMENTS)
def test_a_hold_explains_only_what_it_overlaps(begin: float, long: float, start: float, wait: float) -> None:
    book = Book()
    book.run(1, 11, 100 + start, 150)
    book.fault("freeze-pod", "held", 100 + begin, 11, ended_at=100 + begin + long)
    book.run(1, 21, 100 + start + wait, 151)
    explained = not book.found("duplicates")
    overlap = begin <= start + wait and start <= begin + long
    near = begin <= start + wait and start <= begin + long + GRAIN + 1e-6
    assert explained or not overlap
    assert near or not explained


class TestCutWhileDeaf:
    """A process that cannot connect again loses its connections; then its supervisor misses two beats of 1 s."""

    def book(self, *, cut: float = 102.0, mute: float = 104.0, until: float = 108.0, pid: int = 11) -> Book:
        book = Book()
        book.job(1, kind="gil")
        book.run(1, 11, 100, 109)
        book.run(1, 21, 106.5, 110)
        book.fault("cut", "none", cut, 10, pid, 12, ended_at=cut)
        book.fault("half-open-briefly", "none", mute, 10, pid, 12, ended_at=until, detail={"cut": True})
        return book

    def test_the_shortcut_may_take_it_for_dead(self) -> None:
        assert self.book().again() == {"again: half-open-briefly": 1}

    @pytest.mark.parametrize(
        "near_miss",
        [{"cut": 99.0}, {"until": 105.5}, {"pid": 13}, {"mute": 110.0, "until": 115.0}],
        ids=["cut before", "one beat only", "another process", "after the second start"],
    )
    def test_near_misses(self, near_miss: dict[str, float]) -> None:
        assert len(self.book(**near_miss).found("duplicates")) == 1  # type: ignore[arg-type]

    def test_a_process_that_can_connect_again_is_not_excused(self) -> None:
        book = self.book()
        book.job(1, kind="work")
        assert len(book.found("duplicates")) == 1

    def test_one_that_stands_still_cannot_either(self) -> None:
        book = self.book()
        book.job(1, kind="work")
        book.fault("freeze-child", "none", 101, 11, ended_at=107, detail={"cut": True})
        assert book.again() == {"again: half-open-briefly": 1}
