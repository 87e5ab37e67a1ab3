"""The end of a run: drained, quiet, nothing left, counted right; and whether the run counts at all."""

from __future__ import annotations

from typing import Any

import pytest

from chaos.ledger import Ledger
from chaos.oracle import judge
from chaos.oracle.counters import settles_of
from chaos.oracle.facts import Story
from tests.chaos.oracle_ledgers import Book


def status(**changes: Any) -> dict[str, Any]:
    """What `reliq status --json` says of an empty fleet."""
    plain = {"processed": 0, "failed": 0, "scheduled": 0, "retries": 0, "dead": 0, "queues": [], "processes": []}
    return plain | changes


class TestLiveness:
    def test_drained_and_quiet(self) -> None:
        book = Book()
        book.run(1, 11, 100, 101)
        check = book.check("liveness")
        assert check.ok
        assert check.judged == 1

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"drained_at": None}, "not everything was done 60 s after the last fault"),
            ({"drained_at": 960.1}, "it took 60.1 s after the last fault until all was done; the bound is 60 s"),
            ({"left": {"queue": 2, "retry": 0}}, "jobs were left at the end: 2 in queue"),
            ({"idle": (20.0, 40.1)}, "an idle pod sends 40.1 commands/s at the end; it was 20.0, 40.0 is fine"),
        ],
    )
    def test_not(self, changes: dict[str, Any], said: str) -> None:
        book = Book()
        book.end(**changes)
        assert book.found("liveness") == [said]

    def test_just_in_time(self) -> None:
        book = Book()
        book.end(drained_at=960.0, idle=(20.0, 40.0))
        assert not book.found("liveness")

    @pytest.mark.parametrize(("traffic", "findings"), [(70.0, 0), (70.1, 1)])
    def test_the_dead_are_looked_after_for_a_while(self, traffic: float, findings: int) -> None:
        book = Book()
        book.end(idle=(20.0, traffic), walk=200)
        assert len(book.found("liveness")) == findings

    @pytest.mark.parametrize(
        ("expected", "home", "findings"),
        [
            ("done", "queue:default", 1),
            ("done", "private:box:11:0", 1),
            ("done", "retry", 1),
            ("buried", "dead", 0),
            ("buried", "quarantine:default", 1),
            ("any", "retry", 0),
            ("any", "dead", 0),
            ("any", "schedule", 1),
        ],
    )
    def test_a_job_lies_where_it_belongs(self, expected: str, home: str, findings: int) -> None:
        book = Book()
        book.job(1, expected=expected)
        book.home(1, home)
        assert len(book.found("liveness")) == findings

    def test_an_end_that_was_not_reached_is_not_judged(self) -> None:
        book = Book()
        book.final = None
        for name in ("liveness", "leaks", "counters"):
            check = book.check(name)
            assert (check.judged, check.skipped) == (0, "the run did not reach its end")


class TestLeaks:
    def test_nothing(self) -> None:
        book = Book()
        book.end(descriptors={11: (20, 23)})
        check = book.check("leaks")
        assert check.ok
        assert check.judged == 4

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"strange_keys": ["turn:x: ends never"]}, "a key that should not be there: turn:x: ends never"),
            ({"connections": (3, 4)}, "4 connections are left at the end; before the run it were 3"),
            ({"processes": ["123 reliq worker"]}, "a process is left: 123 reliq worker"),
            ({"descriptors": {11: (20, 24)}}, "process 11 has 24 open files at the end; it had 20 when it was ready"),
        ],
    )
    def test_each(self, changes: dict[str, Any], said: str) -> None:
        book = Book()
        book.end(**changes)
        assert book.found("leaks") == [said]


class TestCounters:
    def book(self, processed: int, failed: int, **said: Any) -> Book:
        book = Book()
        book.end(processed=processed, failed=failed, status=status(processed=processed, failed=failed, **said))
        return book

    def test_one_success_after_two_failures(self) -> None:
        book = self.book(3, 2)
        book.run(1, 11, 100, 101, "failed")
        book.run(1, 11, 120, 121, "failed", attempt=2)
        book.run(1, 11, 150, 151, attempt=3)
        check = book.check("counters")
        assert check.ok
        assert check.judged == 1
        assert "range" not in check.promise

    @pytest.mark.parametrize(
        ("processed", "failed", "said"),
        [
            (2, 0, "processed is 2; by the ledger it is 1"),
            (0, 0, "processed is 0; by the ledger it is 1"),
            (1, 1, "failed is 1; by the ledger it is 0"),
        ],
    )
    def test_miscounted(self, processed: int, failed: int, said: str) -> None:
        book = self.book(processed, failed)
        book.run(1, 11, 100, 101)
        assert book.found("counters") == [said]

    def test_a_second_run_counts_once(self) -> None:
        book = self.book(1, 0)
        book.run(1, 11, 100, 101)
        book.kill(101.1, 11)
        book.run(1, 21, 102, 103)
        assert not book.found("counters")
        book.end(processed=2)
        assert "processed is 2; by the ledger it is 1" in book.found("counters")

    @pytest.mark.parametrize(
        ("said", "complaint"),
        [
            ({"processed": 2}, "`reliq status` says 2 processed; it is 1"),
            ({"failed": 1}, "`reliq status` says 1 failed; it is 0"),
            ({"dead": 1}, "`reliq status` says 1 dead; it is 0"),
            ({"retries": 1}, "`reliq status` says 1 retries; it is 0"),
            ({"scheduled": 1}, "`reliq status` says 1 scheduled; it is 0"),
            ({"queues": [{"size": 2, "quarantined": 0}]}, "`reliq status` says 2 enqueued; it is 0"),
            ({"queues": [{"size": 0, "quarantined": 1}]}, "`reliq status` says 1 quarantined; it is 0"),
        ],
    )
    def test_status_says_the_same(self, said: dict[str, Any], complaint: str) -> None:
        book = self.book(1, 0)
        book.run(1, 11, 100, 101)
        book.end(status=status(processed=1) | said)
        assert book.found("counters") == [complaint]

    def test_status_says_where_jobs_lie(self) -> None:
        said = {"dead": 1, "retries": 1, "queues": [{"size": 1, "quarantined": 0}, {"size": 0, "quarantined": 1}]}
        book = self.book(1, 1, **said)
        for token, home in enumerate(("dead", "retry", "queue:default", "quarantine:default"), 1):
            book.job(token, expected="any", kind="once")
            book.home(token, home)
        book.run(5, 11, 100, 101, "failed")
        book.job(5, kind="once", expected="any")
        assert not book.found("counters")

    @pytest.mark.parametrize(("said", "word"), [({}, "nothing"), ({"error": "no way"}, "no way")])
    def test_nothing_is_said(self, said: dict[str, Any], word: str) -> None:
        book = Book()
        book.end(status=said)
        assert [word in what for what in book.found("counters")] == [True]

    def test_a_stranger_widens_it_to_a_range(self) -> None:
        for count, fine in ((0, False), (1, True), (10, True), (11, False)):
            book = self.book(count, count, retries=1)
            book.job(1, kind="stranger", expected="any")
            book.home(1, "retry")
            assert book.check("counters").ok == fine
            assert "of 1 jobs only a range can be known" in book.check("counters").promise

    def test_what_redis_lost_is_not_counted(self) -> None:
        book = self.book(7, 7)
        book.fault("redis-kill", "undone", 100, outage=True, ended_at=101)
        check = book.check("counters")
        assert check.ok
        assert check.skipped == "Redis lost writes it had acknowledged"

    @pytest.mark.parametrize(
        ("kind", "runs", "homes", "processed", "failed"),
        [
            ("work", [], [], (0, 0), (0, 0)),
            ("work", [(1, "done")], [], (1, 1), (0, 0)),
            ("work", [(1, None), (1, "done")], [], (1, 1), (0, 0)),
            ("work", [(1, "failed"), (1, "done")], [], (1, 1), (0, 0)),
            ("work", [(1, "failed"), (2, "interrupted"), (2, "done")], [], (2, 2), (1, 1)),
            ("work", [(1, None)], [], (0, 1), (0, 1)),
            ("work", [(1, "failed")], ["retry"], (1, 1), (1, 1)),
            ("work", [(1, "failed")], ["queue:default"], (0, 1), (0, 1)),
            ("work", [(1, "failed"), (2, None), (2, None), (2, None)], ["dead"], (1, 1), (1, 1)),
            ("killer", [(1, None), (1, None), (1, None)], ["dead"], (0, 0), (0, 0)),
            ("once", [(1, "failed")], [], (1, 1), (1, 1)),
            ("once", [(1, "done")], [], (1, 1), (0, 0)),
            ("once", [(1, "failed"), (1, "done")], [], (1, 1), (0, 1)),
            ("stranger", [], ["retry"], (1, 10), (1, 10)),
            ("stranger", [], ["dead"], (1, 11), (1, 11)),
            ("newcomer", [(4, "done")], [], (4, 4), (3, 3)),
            ("newcomer", [(3, "failed")], ["retry"], (3, 10), (3, 10)),
        ],
    )
    def test_what_a_job_adds(
        self,
        kind: str,
        runs: list[tuple[int, Any]],
        homes: list[str],
        *,
        processed: tuple[int, int],
        failed: tuple[int, int],
    ) -> None:
        book = Book()
        book.job(1, kind=kind)
        for number, (attempt, outcome) in enumerate(runs):
            book.run(1, 11, 100 + number, None if outcome is None else 100.5 + number, outcome, attempt=attempt)
        settles = settles_of(Story(token=1, sent=book.sent[1], runs=tuple(book.runs), homes=tuple(homes)))
        assert (settles.processed, settles.failed) == (processed, failed)


class TestVoid:
    def clean(self, **settings: Any) -> Book:
        book = Book(**settings)
        book.run(1, 11, 100, 101)
        book.end(processed=1, status=status(processed=1))
        return book

    def test_a_clean_run_counts(self) -> None:
        verdict = self.clean().judge()
        assert verdict.void == ()
        assert verdict.findings == []
        assert verdict.ok

    def test_a_fault_that_never_fired(self) -> None:
        assert self.clean(armed=("kill-child",)).judge().void == ("the fault kill-child was armed and never fired",)

    def test_a_fault_that_fired_while_nothing_ran(self) -> None:
        book = self.clean(armed=("kill-child",))
        book.kill(300, 11, in_flight=0)
        assert book.judge().void == ("the fault kill-child fired 1 times, and never while a job ran",)
        book.kill(310, 12, in_flight=1)
        assert book.judge().void == ()

    def test_a_fault_for_which_that_does_not_matter(self) -> None:
        book = self.clean(armed=("clock-step",))
        book.fault("clock-step", "none", 300, in_flight=0, detail={"idle": True})
        assert book.judge().void == ()

    def test_nothing_was_done(self) -> None:
        book = self.clean()
        book.runs.clear()
        book.job(1, kind="stranger", expected="any")
        book.home(1, "retry")
        assert "no job was done" in book.judge().void

    def test_no_job_at_all(self) -> None:
        void = Book().judge().void
        assert "nothing was judged for `lost`" in void
        assert "nothing was judged for `duplicates`" in void

    def test_no_census(self) -> None:
        book = self.clean()
        book.audits.clear()
        assert book.judge().void == ("no census was taken", "nothing was judged for `conservation`")

    @pytest.mark.parametrize(("failed", "void"), [(1, ()), (2, ("only 1 of 3 censuses were answered",))])
    def test_too_few_answers(self, failed: int, void: tuple[str, ...]) -> None:
        book = self.clean()
        book.facts["audits_failed"] = failed
        assert book.judge().void == void

    def test_the_end_was_not_reached(self) -> None:
        book = self.clean()
        book.final = None
        assert book.judge().void == ("the run did not reach its end: nothing was measured there",)

    def test_dead_jobs_were_trimmed(self) -> None:
        book = self.clean()
        book.end(trimmed=4)
        assert len(book.judge().void) == 1

    def test_it_never_began(self, tmp_path: Any) -> None:
        with Ledger(tmp_path / "ledger") as ledger:
            verdict = judge(ledger)
        assert not verdict.ok
        assert verdict.void[0].startswith("the run never began")


def test_what_is_counted() -> None:
    book = Book()
    book.run(1, 11, 100)
    book.kill(101, 11)
    book.run(1, 21, 102, 103, "failed")
    book.run(1, 21, 122, 123, attempt=2)
    book.job(2, answer="refused")
    book.job(3, answer=None)
    book.job(4, kind="killer", expected="buried")
    book.home(4, "dead")
    book.fault("suicide", "dead", 200, 12, observed=True)
    counts = book.judge().counts
    assert counts == {
        "sent": 4,
        "acked": 2,
        "refused": 1,
        "unknown": 1,
        "done": 1,
        "buried": 1,
        "runs": 3,
        "effects": 0,
        "audits": 1,
        "kills": 1,
        "fault: kill-child": 1,
        "fault: suicide": 1,
        "again: failure": 1,
        "again: kill-child": 1,
    }


def test_the_verdict_has_every_check_and_judges_a_ledger_that_is_only_read(tmp_path: Any) -> None:
    book = Book()
    book.run(1, 11, 100, 101)
    with Ledger(tmp_path / "ledger") as ledger:
        book.write(ledger)
    with Ledger(tmp_path / "ledger", read_only=True) as ledger:
        first, second = judge(ledger), judge(ledger)
    assert first == second
    names = [check.name for check in first.checks]
    assert len(names) == len(set(names))
    promised = "lost bytes conservation duplicates fences crashes recovery liveness leaks counters"
    assert set(promised.split()) <= set(names)
