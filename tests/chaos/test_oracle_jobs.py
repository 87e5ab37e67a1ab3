"""Lost jobs, changed bytes, jobs in two places or none, fence numbers."""

from __future__ import annotations

import attrs
import pytest

from chaos.oracle.strikes import LOSE_WITHIN
from chaos.records import Audit, Sent
from tests.chaos.oracle_ledgers import Book, change


class TestLost:
    def test_every_expected_end_is_fine(self) -> None:
        book = Book()
        book.run(1, 11, 100, 101)
        book.job(2, kind="killer", expected="buried")
        book.home(2, "dead")
        book.job(3, kind="stranger", expected="any")
        book.home(3, "retry")
        book.job(4, kind="once", expected="any")
        book.run(4, 11, 100, 101, "failed")
        book.job(5, answer="refused")
        book.job(6, answer="unknown")
        book.job(7, answer=None, known_at=None)
        book.job(8, answer=None, known_at=None)
        book.run(8, 11, 100, 101)
        check = book.check("lost")
        assert check.ok
        assert check.judged == 5, "all but those that may have never been there"

    @pytest.mark.parametrize("answer", ["acked", "unknown", None])
    def test_a_job_that_ran_and_is_gone(self, answer: str | None) -> None:
        book = Book()
        book.job(1, answer=answer)
        book.run(1, 11, 100)
        assert len(book.found("lost")) == 1

    def test_a_job_that_never_ran(self) -> None:
        book = Book()
        book.job(1)
        assert book.found("lost") == [
            "job 1 (work) was acknowledged, never ran, was never done, and has no home any more"
        ]

    @pytest.mark.parametrize("outcome", ["failed", "interrupted"])
    def test_only_done_is_done(self, outcome: str) -> None:
        book = Book()
        book.run(1, 11, 100, 101, outcome)  # type: ignore[arg-type]
        assert len(book.found("lost")) == 1

    def test_a_killer_that_is_gone(self) -> None:
        book = Book()
        book.job(1, kind="killer", expected="buried")
        book.run(1, 11, 100)
        assert book.found("lost") == ["job 1 (killer) was acknowledged, should have been buried, and is gone"]

    def test_one_of_either_end_that_has_neither(self) -> None:
        book = Book()
        book.job(1, kind="stranger", expected="any")
        assert len(book.found("lost")) == 1

    def test_a_failure_forgets_only_jobs_that_want_it(self) -> None:
        book = Book()
        book.job(1, kind="flaky", expected="any")
        book.run(1, 11, 100, 101, "failed")
        assert len(book.found("lost")) == 1

    def test_a_job_that_still_waits_is_for_liveness(self) -> None:
        book = Book()
        book.job(1)
        book.home(1, "queue:default")
        assert not book.found("lost")
        assert len(book.found("liveness")) == 1

    def test_a_refused_job_that_ran(self) -> None:
        book = Book()
        book.job(1, answer="refused")
        book.run(1, 11, 100, 101)
        assert book.found("lost") == ["job 1 was refused, and ran"]

    def test_a_refused_job_that_lies_somewhere(self) -> None:
        book = Book()
        book.job(1, answer="refused")
        book.home(1, "queue:default")
        assert book.found("lost") == ["job 1 was refused, and lies in queue:default"]

    def test_jobs_from_nowhere(self) -> None:
        book = Book()
        book.run(1, 11, 100, 101)
        del book.sent[1]
        book.home(2, "dead")
        assert book.found("lost") == [
            "job 1 ran, but nobody has sent it",
            "job 2 lies in dead, but nobody has sent it",
        ]

    def test_without_an_end_nothing_is_known_to_be_lost(self) -> None:
        book = Book()
        book.final = None
        book.job(1)
        book.job(2, answer="refused")
        book.run(2, 11, 100, 101)
        assert book.found("lost") == ["job 2 was refused, and ran"]
        assert "did not reach its end" in book.judge().void[0]


class TestLostByRedis:
    def lost(self, known_at: float | None, **changes: object) -> tuple[int, int]:
        book = Book(**{name: value for name, value in changes.items() if name == "durability"})
        book.job(1, sent_at=5.0, known_at=known_at, answer="acked" if known_at else None)
        book.fault(
            "redis-kill", "undone", 100, outage=True, ended_at=101, detail={"all": bool(changes.get("everything"))}
        )
        if "started_at" in changes:
            book.run(1, 11, changes["started_at"])  # type: ignore[arg-type]
        verdict = book.judge()
        findings = next(check for check in verdict.checks if check.name == "lost").findings
        return len(findings), verdict.counts.get("lost by Redis", 0)

    def test_what_was_acknowledged_just_before(self) -> None:
        assert self.lost(100.0 - LOSE_WITHIN) == (0, 1)

    def test_what_was_acknowledged_earlier(self) -> None:
        assert self.lost(99.9 - LOSE_WITHIN) == (1, 0)

    def test_what_had_run_earlier_was_there_earlier(self) -> None:
        assert self.lost(99.5, started_at=50.0) == (1, 0)

    def test_what_nobody_knows_of_but_ran_just_before(self) -> None:
        assert self.lost(None, started_at=99.0) == (0, 1)

    def test_what_nobody_knows_of_but_ran_earlier(self) -> None:
        assert self.lost(None, started_at=50.0) == (1, 0)

    def test_everything(self) -> None:
        assert self.lost(5.0, everything=True) == (0, 1)

    def test_nothing_with_every_write_synced(self) -> None:
        assert self.lost(99.0, durability="always") == (1, 0)

    def test_what_was_sent_afterwards(self) -> None:
        book = Book()
        book.job(1, sent_at=102.0, known_at=102.1)
        book.fault("redis-empty", "undone", 100, outage=True, ended_at=101, detail={"all": True})
        assert len(book.found("lost")) == 1

    def test_a_job_that_was_refused_cannot_be_lost(self) -> None:
        book = Book()
        book.job(1, sent_at=99.0, known_at=99.5, answer="refused")
        book.run(1, 11, 99.6)
        book.fault("redis-kill", "undone", 100, outage=True, ended_at=101)
        assert len(book.found("lost")) == 1

    def test_a_fault_that_harms_nobody_loses_nothing(self) -> None:
        book = Book()
        book.job(1, sent_at=99.0, known_at=99.5)
        book.fault("redis-kill", "none", 100, outage=True, ended_at=101)
        assert len(book.found("lost")) == 1


class TestBytes:
    def test_the_same(self) -> None:
        book = Book()
        book.run(1, 11, 100, 101)
        check = book.check("bytes")
        assert check.ok
        assert check.judged == 1

    def test_other_arguments(self) -> None:
        book = Book()
        change(book, book.run(1, 11, 100, 101), digest="other")
        assert book.found("bytes") == ["job 1 ran with other arguments: other instead of digest-1"]

    def test_another_id(self) -> None:
        book = Book()
        change(book, book.run(1, 11, 100, 101), jid="other")
        assert book.found("bytes") == ["job 1 ran under two ids: jid-1 and other"]

    def test_two_ids_of_a_job_whose_id_nobody_was_told(self) -> None:
        book = Book()
        book.job(1, jid=None, answer="unknown")
        book.run(1, 11, 100, 101, "failed")
        book.run(1, 11, 120, 121, attempt=2)
        assert not book.found("bytes")
        book.run(1, 11, 130, 131, jid="other")
        assert len(book.found("bytes")) == 1

    def test_a_census_saw_it_change(self) -> None:
        book = Book()
        book.audits.append(Audit(started_at=1.0, ended_at=1.1, homes={}, changed={1: "enqueued_at"}))
        assert book.found("bytes") == ["job 1 changed between two homes: enqueued_at"]

    def test_it_lies_there_changed(self) -> None:
        book = Book()
        book.end(changed={1: "1e400"})
        assert book.found("bytes") == ["job 1 has other arguments at the end: 1e400"]


class TestConservation:
    def book(self, **audit: object) -> Book:
        book = Book()
        plain = Audit(started_at=200.0, ended_at=200.5, homes={"queue": 1})
        book.audits = [attrs.evolve(plain, **audit)]  # type: ignore[arg-type]
        return book

    def test_a_census_without_a_complaint(self) -> None:
        check = self.book().check("conservation")
        assert check.ok
        assert check.judged == 1

    def test_two_places(self) -> None:
        book = self.book(doubled={1: ["retry", "queue:default"]})
        book.job(1)
        assert book.found("conservation") == ["job 1 was in 2 places at once: retry, queue:default"]

    def test_two_places_at_the_end(self) -> None:
        book = self.book()
        book.job(1)
        book.home(1, "dead", "retry")
        assert len(book.found("conservation")) == 1

    def test_no_place(self) -> None:
        book = self.book(missing=[1])
        book.job(1)
        assert book.found("conservation") == ["job 1 had been acknowledged, was in no place, and was not done"]

    def test_no_place_and_nobody_has_sent_it(self) -> None:
        assert len(self.book(missing=[1]).found("conservation")) == 1

    def test_it_was_done_before_the_census_ended(self) -> None:
        book = self.book(missing=[1])
        book.run(1, 11, 100, 200.5)
        assert not book.found("conservation")

    def test_it_was_done_only_later(self) -> None:
        book = self.book(missing=[1])
        book.run(1, 11, 100, 200.6)
        assert len(book.found("conservation")) == 1

    @pytest.mark.parametrize("outcome", ["failed", "interrupted"])
    def test_other_ends_clear_nothing(self, outcome: str) -> None:
        book = self.book(missing=[1])
        book.run(1, 11, 100, 101, outcome)  # type: ignore[arg-type]
        assert len(book.found("conservation")) == 1

    def test_a_failure_clears_a_job_that_is_forgotten_then(self) -> None:
        book = self.book(missing=[1])
        book.job(1, kind="once", expected="any")
        book.run(1, 11, 100, 101, "failed")
        assert not book.found("conservation")
        change(book, book.runs[0], outcome="interrupted")
        assert len(book.found("conservation")) == 1

    @pytest.mark.parametrize(
        ("known_at", "fault_at", "findings"),
        [(149.0, 150.0, 0), (140.0, 150.0, 1), (199.0, 201.0, 1)],
        ids=["just before the loss", "long before it", "the loss came after the census"],
    )
    def test_redis_lost_it(self, known_at: float, fault_at: float, findings: int) -> None:
        book = self.book(missing=[1])
        book.job(1, known_at=known_at)
        book.fault("redis-kill", "undone", fault_at, outage=True, ended_at=fault_at + 1)
        assert len(book.found("conservation")) == findings


class TestFences:
    def book(self, first: int, then: int) -> Book:
        book = Book()
        book.run(1, 11, 100, fence=first, fence_at=100.1)
        book.kill(101, 11)
        book.run(1, 21, 105, 106, fence=then, fence_at=105.1)
        return book

    def test_they_rise(self) -> None:
        check = self.book(1, 2).check("fences")
        assert check.ok
        assert check.judged == 2

    def test_they_fall(self) -> None:
        assert self.book(9, 2).found("fences") == ["job 1: the run that began first drew 9, the next one 2 (7 less)"]

    def test_two_runs_share_one(self) -> None:
        assert self.book(5, 5).found("fences") == ["two runs drew the fence number 5: of job 1 and of job 1"]

    def test_two_jobs_share_one(self) -> None:
        book = self.book(1, 2)
        book.run(2, 31, 105, 106, fence=2, fence_at=105.1)
        assert len(book.found("fences")) == 1

    def test_a_run_without_a_number_in_between(self) -> None:
        book = Book()
        book.run(1, 11, 100, 101, "failed", fence=7, fence_at=100.1)
        book.run(1, 11, 110, 111, "failed", attempt=2)
        book.run(1, 11, 120, 121, attempt=3, fence=6, fence_at=120.1)
        assert len(book.found("fences")) == 1

    def test_one_that_was_taken_for_dead_draws_after_its_successor(self) -> None:
        book = Book()
        book.run(1, 11, 100, 140, fence=9, fence_at=131)
        book.fault("freeze-pod", "held", 101, 11, ended_at=130)
        book.run(1, 21, 122, 123, fence=5, fence_at=122.1)
        assert not book.found("duplicates")
        assert len(book.found("fences")) == 1

    def test_both_are_as_good_when_redis_lost_the_claim(self) -> None:
        book = Book()
        book.run(1, 11, 109, 140, fence=9, fence_at=131)
        book.fault("redis-kill", "undone", 110, outage=True, ended_at=111)
        book.run(1, 21, 122, 123, fence=5, fence_at=122.1)
        assert not book.found("fences")

    def test_numbers_do_not_fall_when_redis_loses_writes(self) -> None:
        book = Book()
        book.run(1, 11, 109, 140, fence=9, fence_at=109.1)
        book.fault("redis-kill", "undone", 110, outage=True, ended_at=111)
        book.run(1, 21, 122, 123, fence=5, fence_at=122.1)
        assert len(book.found("fences")) == 1

    def test_an_older_effect_was_accepted(self) -> None:
        book = self.book(1, 2)
        first, then = book.runs
        book.effect(then, 2)
        book.effect(first, 1)
        assert book.found("fences") == ["job 1: an effect with fence 1 was accepted after one with 2"]

    def test_an_older_effect_was_refused(self) -> None:
        book = self.book(1, 2)
        first, then = book.runs
        book.effect(then, 2)
        book.effect(first, 1, accepted=False)
        book.effect(then, 2)
        book.effect(first, None)
        assert not book.found("fences")

    def test_effects_of_other_jobs_do_not_matter(self) -> None:
        book = self.book(1, 2)
        other = book.run(2, 31, 100, 101, fence=3, fence_at=100.1)
        book.effect(book.runs[1], 2)
        book.effect(other, 3)
        book.effect(book.runs[1], 2)
        assert not book.found("fences")


def test_a_job_is_judged_by_the_last_word_of_its_producer() -> None:
    book = Book()
    job: Sent = book.job(1, answer=None, known_at=None)
    assert not book.found("lost")
    book.sent[1] = attrs.evolve(job, answer="acked", known_at=6.0)
    assert len(book.found("lost")) == 1
