"""Which second runs the oracle explains, and that each explanation ends where it should."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.oracle.strikes import GRAIN, SEEN_WITHIN, SETTLE_WITHIN
from tests.chaos.oracle_ledgers import Book


def test_one_run_is_no_duplicate_and_is_judged() -> None:
    book = Book()
    book.run(1, 11, 100, 101)
    check = book.check("duplicates")
    assert check.ok
    assert check.judged == 1


def test_nothing_happened_and_it_ran_again() -> None:
    book = Book()
    book.run(1, 11, 100, 101)
    book.run(1, 21, 105, 106)
    assert book.found("duplicates") == [
        "job 1 was done and ran again 4.00 s later, without a cause (pid 11, then pid 21)"
    ]


class TestAfterAFailure:
    def test_the_next_attempt(self) -> None:
        book = Book()
        book.run(1, 11, 100, 101, "failed")
        book.run(1, 21, 120, 121, attempt=2)
        assert book.again() == {"again: failure": 1}
        assert not book.found("duplicates")

    def test_the_same_attempt_needs_another_cause(self) -> None:
        book = Book()
        book.run(1, 11, 100, 101, "failed")
        book.run(1, 21, 120, 121)
        assert "was failed and ran again" in book.found("duplicates")[0]

    def test_the_same_attempt_after_the_death_of_its_process(self) -> None:
        book = Book()
        book.run(1, 11, 100, 101, "failed")
        book.kill(101.2, 11)
        book.run(1, 21, 120, 121)
        assert book.again() == {"again: kill-child": 1}

    def test_two_attempts_at_once_are_one_too_many(self) -> None:
        book = Book()
        book.run(1, 11, 100, 101, "failed")
        book.run(1, 21, 120, 121, attempt=3)
        assert book.found("duplicates") == ["job 1 went from attempt 1 to 3 without that failure"]

    def test_a_crash_is_no_attempt(self) -> None:
        book = Book()
        book.run(1, 11, 100)
        book.kill(101, 11)
        book.run(1, 21, 102, 103, attempt=2)
        assert book.found("duplicates") == ["job 1 went from attempt 1 to 2 without that failure"]

    def test_a_death_and_then_a_process_that_does_not_know_the_name(self) -> None:
        book = Book()
        book.job(1, kind="newcomer", expected="any")
        book.run(1, 11, 100, 101)
        book.kill(101.2, 11)
        book.run(1, 21, 130, 131, attempt=2)
        assert book.again() == {"again: kill-child": 1}

    def test_not_knowing_the_name_is_no_reason_to_run_again_what_was_done(self) -> None:
        book = Book()
        book.job(1, kind="newcomer", expected="any")
        book.run(1, 11, 100, 101)
        book.run(1, 21, 130, 131, attempt=2)
        assert book.found("duplicates") == ["job 1 went from attempt 1 to 2 without that failure"]

    def test_a_job_without_retries_does_not_run_again(self) -> None:
        book = Book()
        book.job(1, kind="once", expected="any")
        book.run(1, 11, 100, 101, "failed")
        book.run(1, 21, 120, 121, attempt=2)
        assert len(book.found("duplicates")) == 1


class TestAfterAnInterruption:
    @pytest.mark.parametrize("sign", ["prestop", "term", "kill"])
    def test_of_a_pod_that_was_told(self, sign: str) -> None:
        book = Book()
        book.run(1, 11, 100, 110, "interrupted")
        book.event("a-1", sign, 106)
        book.run(1, 21, 110.1, 112)
        assert book.again() == {"again: stop": 1}

    def test_of_an_orphan(self) -> None:
        book = Book()
        book.run(1, 11, 100, 110, "interrupted")
        book.kill(106, 10, kind="main")
        book.run(1, 21, 110.1, 112)
        assert not book.found("duplicates")

    def test_of_an_orphan_by_its_pods_members(self) -> None:
        book = Book()
        book.run(1, 11, 100, 110, "interrupted")
        book.fault("kill", "dead", 106, 10)
        book.run(1, 21, 110.1, 112)
        assert not book.found("duplicates")

    @pytest.mark.parametrize("wrong", ["another pod", "too late", "a brother died", "itself died", "nobody"])
    def test_of_one_that_nobody_told(self, wrong: str) -> None:
        book = Book()
        book.run(1, 11, 100, 110, "interrupted")
        if wrong == "another pod":
            book.event("b-1", "term", 106)
        elif wrong == "too late":
            book.event("a-1", "term", 110 + GRAIN + 0.1)
        elif wrong == "a brother died":
            book.kill(106, 12)
        elif wrong == "itself died":
            book.kill(110.1, 11)
        book.run(1, 21, 115, 116)
        assert "was interrupted though nobody had told" in book.found("duplicates")[0]

    def test_by_a_fence_that_was_refused_because_its_process_was_condemned(self) -> None:
        book = Book()
        book.run(1, 11, 100, 140, "interrupted")
        book.fault("freeze-pod", "held", 101, 10, 11, 12, ended_at=130)
        book.run(1, 21, 122, 123)
        assert book.again() == {"again: freeze-pod": 1}

    def test_a_stop_explains_nothing_else(self) -> None:
        book = Book()
        book.run(1, 11, 100, 107)
        book.run(2, 11, 100)
        book.event("a-1", "prestop", 105)
        book.event("a-1", "term", 106)
        book.run(1, 21, 107.5, 108)
        book.run(2, 21, 107.5, 108)
        assert len(book.found("duplicates")) == 2

    def test_it_is_not_handed_back_while_it_unwinds(self) -> None:
        book = Book()
        book.run(1, 11, 100, 110, "interrupted")
        book.event("a-1", "term", 106)
        book.run(1, 21, 109, 112)
        assert "runs twice at once" in book.found("duplicates")[0]


class TestAfterADeath:
    def book(self) -> Book:
        book = Book()
        book.run(1, 11, 100)
        book.run(1, 21, 105, 106)
        return book

    def test_of_its_process(self) -> None:
        book = self.book()
        book.kill(104, 11)
        assert book.again() == {"again: kill-child": 1}

    def test_one_that_began_in_the_moment_of_the_kill(self) -> None:
        book = self.book()
        book.kill(100 - GRAIN / 2, 11)
        assert not book.found("duplicates")

    def test_nobody_died(self) -> None:
        assert self.book().found("duplicates") == [
            "job 1 began again while it ran: its process lived (pid 11, then pid 21)"
        ]

    def test_another_process_died(self) -> None:
        book = self.book()
        book.kill(104, 12)
        assert len(book.found("duplicates")) == 1

    def test_it_died_before_the_run(self) -> None:
        book = self.book()
        book.kill(100 - GRAIN - 0.1, 11)
        assert len(book.found("duplicates")) == 1

    def test_it_died_after_the_next_start(self) -> None:
        book = self.book()
        book.kill(105.1, 11)
        assert "its process died 0.10 s later" in book.found("duplicates")[0]

    def test_a_fault_that_harms_nobody_explains_nothing(self) -> None:
        book = self.book()
        book.fault("lose-reply", "none", 104, 11, detail={"command": "turn"})
        book.fault("redis-restart", "none", 104, ended_at=104.5, outage=True)
        book.fault("freeze-briefly", "none", 101, 10, 11, 12, ended_at=104, detail={"cut": True})
        assert len(book.found("duplicates")) == 1

    def test_the_same_pid_in_another_pod_is_another_process(self) -> None:
        book = self.book()
        book.kill(104, 11, target="b-1")
        assert len(book.found("duplicates")) == 1

    def test_the_same_pid_used_again_is_another_process(self) -> None:
        book = self.book()
        book.members("a-1", 101, 10, 12, main=10)
        book.kill(104, 11)
        assert len(book.found("duplicates")) == 1

    def test_one_that_was_seen_may_be_noted_late(self) -> None:
        book = self.book()
        book.fault("suicide", "dead", 105 + SEEN_WITHIN / 2, 11, ended_at=106, observed=True)
        assert not book.found("duplicates")
        book.faults.clear()
        book.fault("suicide", "dead", 105.1 + SEEN_WITHIN, 11, ended_at=107, observed=True)
        assert len(book.found("duplicates")) == 1

    def test_when_the_grace_period_was_over(self) -> None:
        book = self.book()
        book.event("a-1", "term", 101)
        book.event("a-1", "kill", 104)
        assert book.again() == {"again: grace-over": 1}

    def test_when_the_grace_period_of_another_pod_was_over(self) -> None:
        book = self.book()
        book.event("b-1", "kill", 104)
        assert len(book.found("duplicates")) == 1


class TestDoneAndNotSettled:
    def book(self, died: float) -> Book:
        book = Book()
        book.run(1, 11, 100, 101)
        book.run(1, 21, 110, 111)
        book.kill(died, 11)
        return book

    @pytest.mark.parametrize("died", [101 - GRAIN / 2, 101, 101 + SETTLE_WITHIN - 0.01])
    def test_its_process_died_at_once(self, died: float) -> None:
        assert self.book(died).again() == {"again: kill-child": 1}

    @pytest.mark.parametrize("died", [101 - GRAIN - 0.1, 101 + SETTLE_WITHIN + 0.01, 110.1])
    def test_its_process_died_at_another_time(self, died: float) -> None:
        assert len(self.book(died).found("duplicates")) == 1

    def test_redis_was_away(self) -> None:
        book = self.book(107)
        book.fault("redis-freeze", "none", 100.5, outage=True, ended_at=106)
        assert book.again() == {"again: kill-child": 1}

    def test_redis_had_been_back_for_long(self) -> None:
        book = self.book(108.9)
        book.fault("redis-freeze", "none", 90, outage=True, ended_at=100)
        assert not book.found("duplicates"), "the process may need `confirm` to come back"
        book = self.book(109.1)
        book.fault("redis-freeze", "none", 90, outage=True, ended_at=100)
        assert len(book.found("duplicates")) == 1

    @pytest.mark.parametrize("mark", ["cut", "slow", "command"])
    def test_it_was_cut_off(self, mark: str) -> None:
        book = self.book(107)
        book.fault("cut", "none", 100.5, 11, ended_at=106, detail={mark: True})
        assert not book.found("duplicates")

    @pytest.mark.parametrize("target", ["a", "a-1"])
    def test_a_reply_to_its_pod_was_lost(self, target: str) -> None:
        book = self.book(107)
        book.fault("lose-reply", "none", 100.5, target=target, detail={"command": "turn"})
        assert not book.found("duplicates")

    @pytest.mark.parametrize("target", ["b", "producer"])
    def test_a_reply_to_somebody_else_was_lost(self, target: str) -> None:
        book = self.book(107)
        book.fault("lose-reply", "none", 100.5, target=target, detail={"command": "turn"})
        assert len(book.found("duplicates")) == 1

    def test_somebody_else_was_cut_off(self) -> None:
        book = self.book(107)
        book.fault("cut", "none", 100.5, 21, ended_at=106, detail={"cut": True})
        assert len(book.found("duplicates")) == 1

    def test_a_fault_without_such_a_mark_is_no_excuse(self) -> None:
        book = self.book(107)
        book.fault("clock-step", "none", 100.5, 11, ended_at=106)
        assert len(book.found("duplicates")) == 1

    def test_another_job_held_the_interpreter(self) -> None:
        book = self.book(107)
        book.job(2, kind="gil")
        book.run(2, 11, 100.5)
        book.run(2, 21, 108, 109)
        assert not book.found("duplicates")

    def test_another_job_held_the_interpreter_of_another_process(self) -> None:
        book = self.book(107)
        book.job(2, kind="gil")
        book.run(2, 12, 100.5, 109)
        assert len(book.found("duplicates")) == 1


class TestChains:
    def test_each_step_has_its_own_cause(self) -> None:
        book = Book()
        book.run(1, 11, 100)
        book.kill(101, 11)
        book.run(1, 21, 102, 103, "failed")
        book.run(1, 22, 120, 121, "interrupted", attempt=2)
        book.event("b-1", "term", 120.5)
        book.run(1, 31, 122, 123, attempt=2)
        assert book.again() == {"again: failure": 1, "again: kill-child": 1, "again: stop": 1}

    def test_one_death_explains_one_step(self) -> None:
        book = Book()
        book.run(1, 11, 100)
        book.kill(101, 11)
        book.run(1, 21, 102)
        book.run(1, 31, 103, 104)
        assert len(book.found("duplicates")) == 1
        assert book.again() == {"again: kill-child": 1}


MOMENTS = st.integers(1, 20_000).map(lambda ms: ms / 1000)


@given(end=MOMENTS, died=MOMENTS, then=MOMENTS)
def test_a_death_explains_a_done_run_only_between_its_end_and_its_settle(end: float, died: float, then: float) -> None:
    book = Book()
    book.run(1, 11, 100, 100 + end)
    book.kill(100 + died, 11)
    book.run(1, 21, 100 + then, 130)
    explained = not book.found("duplicates")
    if explained:
        assert end <= then
        assert died <= then
        assert end - GRAIN - 1e-6 <= died <= end + SETTLE_WITHIN + 1e-6
    elif end <= died <= end + SETTLE_WITHIN - 1e-6 and died <= then:
        pytest.fail("a run whose process died before it could settle is explained by that")
