"""How long recoveries take, which of them are held against a bound, and which bound."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from chaos.oracle.recovery import bound
from tests.chaos.oracle_ledgers import SETTINGS, Book


def killed(seconds: float, kind: str = "child", **settings: object) -> Book:
    """A job whose process dies at 101 s, and that runs again so many seconds later."""
    book = Book(**settings)
    book.run(1, 11, 100)
    pids = {"child": (11,), "pod": (10, 11, 12)}[kind]
    book.kill(101, *pids, kind=kind, target="a-1")
    book.run(1, 21, 101 + seconds, 102 + seconds)
    return book


class TestABusyMachine:
    """Where programs wait for a processor a recovery may take half as long again."""

    @pytest.mark.parametrize(
        ("seconds", "busy", "fine"),
        [
            (1.4, [], False),
            (1.4, [(101.2, 101.3)], True),
            (1.6, [(90.0, 110.0)], False),
            (1.4, [(90.0, 100.9), (102.5, 110.0)], False),
        ],
    )
    def test_it_may_be_late_then(self, seconds: float, busy: list[tuple[float, float]], fine: bool) -> None:
        book = killed(seconds)
        book.facts["short_of_processors"] = busy
        assert bool(book.found("recovery")) != fine


class TestKinds:
    def test_a_child(self) -> None:
        recovery = killed(0.5).recovery("child")
        assert recovery.seconds == recovery.bounded == (0.5,)
        assert recovery.bound == 1.0

    def test_a_pod(self) -> None:
        recovery = killed(3.5, "pod").recovery("pod")
        assert recovery.bounded == (3.5,)
        assert recovery.bound == 4.0

    def test_a_machine(self) -> None:
        recovery = killed(18.0, "pod", client_list=False).recovery("ttl")
        assert recovery.bounded == (18.0,)
        assert recovery.bound == 21.0

    def test_an_orphan_has_nobody_who_sees_it_die(self) -> None:
        book = killed(3.5)
        book.kill(99, 10, kind="main", target="a-1")
        assert book.recovery("pod").bounded == (3.5,)

    def test_without_a_word_of_the_driver_the_members_tell(self) -> None:
        book = Book()
        book.run(1, 11, 100)
        book.fault("kill", "dead", 101, 10, 11, 12)
        book.run(1, 21, 104, 105)
        assert book.recovery("pod").seconds == (3.0,)

    def test_the_second_crash_goes_to_quarantine(self) -> None:
        book = killed(0.5)
        book.runs.pop()
        book.run(1, 21, 101.5)
        book.kill(102, 21, target="b-1")
        book.run(1, 31, 112, 113)
        assert book.recovery("child").seconds == (0.5,)
        recovery = book.recovery("quarantine")
        assert recovery.seconds == (10.0,)
        assert recovery.bound is None
        assert not book.found("recovery")

    def test_held(self) -> None:
        book = Book()
        book.run(1, 11, 100, 140)
        book.fault("freeze-pod", "held", 101, 10, 11, 12, ended_at=130)
        book.run(1, 21, 121, 122)
        recovery = book.recovery("held")
        assert recovery.seconds == (20.0,)
        assert recovery.bounded == ()

    def test_a_run_that_was_over_is_no_recovery(self) -> None:
        book = Book()
        book.run(1, 11, 100, 100.9)
        book.kill(101, 11)
        book.run(1, 21, 102, 103)
        assert not book.judge().recoveries

    def test_what_was_seen_counts_from_when_it_was_seen(self) -> None:
        book = Book()
        book.run(1, 11, 100)
        book.fault("suicide", "dead", 101, 11, ended_at=101.4, observed=True, detail={"kind": "child"})
        book.run(1, 21, 102, 103)
        assert book.recovery("child").seconds == pytest.approx((0.6,))

    def test_bounds_follow_the_settings(self) -> None:
        assert [bound(SETTINGS, kind) for kind in ("child", "pod", "ttl", "quarantine", "held")] == [
            1.0,
            4.0,
            21.0,
            None,
            None,
        ]


class TestBounds:
    @pytest.mark.parametrize(("seconds", "kind"), [(1.1, "child"), (4.1, "pod")])
    def test_too_late(self, seconds: float, kind: str) -> None:
        book = killed(seconds, kind)
        limit = bound(SETTINGS, kind)
        assert book.found("recovery") == [
            f"job 1 waited {seconds:.2f} s for its next run; the bound is {limit:.2f} s ({kind})"
        ]

    def test_too_late_without_a_client_list(self) -> None:
        assert len(killed(21.1, "pod", client_list=False).found("recovery")) == 1

    def test_what_is_in_time_is_judged(self) -> None:
        check = killed(0.9).check("recovery")
        assert check.ok
        assert check.judged == 1

    def test_a_killer_is_not_held_against_it(self) -> None:
        book = killed(9)
        book.job(1, kind="killer", expected="buried")
        assert book.recovery("child").bounded == ()
        assert not book.found("recovery")


class TestDisturbed:
    """A late job is no finding if something else went on; what had nothing to do with it does not excuse it."""

    @pytest.mark.parametrize(
        "what",
        [{"outage": True}, {"detail": {"cut": True}}, {"detail": {"slow": True}}, {"harm": "held"}],
        ids=["outage", "cut", "slow", "held"],
    )
    @pytest.mark.parametrize(
        ("begin", "end", "findings"),
        [(95, 102, 0), (103, 104, 0), (80, 92, 0), (80, 90.5, 1), (110.1, 112, 1)],
        ids=["through it", "in between", "shortly before", "long before", "afterwards"],
    )
    def test_by_what_lasts(self, what: dict[str, Any], begin: float, end: float, findings: int) -> None:
        book = killed(9)
        number = len(book.faults)
        book.fault("other", "none", begin, 31, ended_at=end)
        book.faults[number] = attrs.evolve(book.faults[number], **what)
        assert len(book.found("recovery")) == findings

    def test_by_what_never_ends(self) -> None:
        book = killed(9)
        book.fault("other", "held", 50, 31)
        assert not book.found("recovery")

    @pytest.mark.parametrize(("at", "findings"), [(103, 0), (100.9, 1), (110.1, 1)])
    def test_by_another_death(self, at: float, findings: int) -> None:
        book = killed(9)
        book.kill(at, 31, target="c-1")
        assert len(book.found("recovery")) == findings

    def test_not_by_a_fault_without_harm(self) -> None:
        book = killed(9)
        book.fault("script-flush", "none", 102)
        book.fault("clock-step", "none", 102, ended_at=104)
        assert len(book.found("recovery")) == 1

    def test_by_a_job_that_holds_an_interpreter(self) -> None:
        book = killed(9)
        book.job(2, kind="gil")
        book.run(2, 31, 100, 105)
        assert not book.found("recovery")

    def test_by_the_want_of_another_pod(self) -> None:
        book = killed(9)
        book.event("b-1", "prestop", 105)
        assert len(book.found("recovery")) == 1, "c-1 could look"
        book.kill(60, 30, kind="main", target="c-1")
        assert not book.found("recovery")

    def test_by_the_youth_of_the_other_pods(self) -> None:
        book = killed(9)
        for event in list(book.events):
            if event.what == "ready" and event.pod != "a-1":
                book.events.remove(event)
        book.event("b-1", "ready", 100)
        assert not book.found("recovery")
        book.event("c-1", "ready", 98)
        assert len(book.found("recovery")) == 1


class TestFullHouse:
    """A job that is back in its queue may have to wait for a thread: 3 pods x 2 processes x 1 thread here."""

    def book(self, until: float) -> Book:
        book = killed(9, concurrency=1)
        for pid in (12, 22, 31, 32):
            book.run(1000 + pid, pid, 50, until)
        book.run(1021, 21, 50, 110)
        return book

    def test_no_thread_was_free(self) -> None:
        book = self.book(109.95)
        assert not book.found("recovery")
        assert book.recovery("child").seconds == (9.0,)
        assert book.recovery("child").bounded == ()

    def test_a_thread_was_free_when_it_was_due(self) -> None:
        assert len(self.book(101.5).found("recovery")) == 1

    def test_a_thread_was_free_long_before_it_began(self) -> None:
        assert len(self.book(108.5).found("recovery")) == 1

    def test_another_job_of_its_queue_went_first(self) -> None:
        book = self.book(109.95)
        book.run(2, 22, 105, 106)
        assert len(book.found("recovery")) == 1

    @pytest.mark.parametrize(("queue", "start"), [("other", 105.0), ("default", 102.1)], ids=["queue", "moment"])
    def test_another_job_that_could_not_have_waited(self, queue: str, start: float) -> None:
        book = self.book(109.95)
        book.job(2, queue=queue)
        book.run(2, 22, start, start + 1)
        assert not book.found("recovery")
