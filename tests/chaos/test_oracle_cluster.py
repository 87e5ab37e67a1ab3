"""Runs on a cluster: each pod counts its processes from 1, one that starts again keeps its host, all is noted late."""

from __future__ import annotations

from typing import Any

import pytest

from chaos.oracle.fleet import HOOK, Fleet
from chaos.oracle.strikes import GIVES_UP, GRAIN
from chaos.records import FaultRecord, Outcome, Run
from tests.chaos.oracle_ledgers import Book

MAIN, FIRST, SECOND = 7, 16, 17
"""The processes of every pod here: the supervisor and its workers."""


class Far(Book):
    """Three pods `a`, `b`, `c` with the same process ids, ready at 2 s."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"driver": "kubectl"} | settings)
        self.events.clear()
        for host in "abc":
            self.container(host, host, since=0.5, at=1.0)

    def container(self, name: str, host: str, *, since: float, at: float) -> None:
        """One run of a pod's container, which is seen running at `at`, and was not at `since`."""
        self.event(name, "start", at, replica=host, host=host, since=since)
        self.event(name, "ready", at + 1.0)

    def sees(self, name: str, at: float, *pids: int) -> None:
        """What a look into a container has found."""
        self.event(name, "members", at, pids=[MAIN, *pids], children=list(pids), main=MAIN)

    def on(
        self, host: str, pid: int, start: float, end: float | None = None, outcome: Outcome | None = None, **more: Any
    ) -> Run:
        """A run of job 1."""
        return self.run(1, pid, start, end, outcome, identity=f"{host}:{pid}:{more.pop('nonce', 0)}", **more)

    def struck(self, name: str, kind: str, pod: str, at: float, until: float, *pids: int, **more: Any) -> FaultRecord:
        """A fault that ended processes of a pod at some moment between these two."""
        detail = {"kind": kind} | more.pop("detail", {})
        return self.fault(name, "dead", at, *pids, target=pod, ended_at=until, detail=detail, **more)

    def unexplained(self) -> int:
        return len(self.found("duplicates"))


def book(end: float | None = None, outcome: Outcome | None = None, **settings: Any) -> Far:
    """Job 1 began in process 16 of `a` at 100 s, and again in `b` at 105 s."""
    one = Far(**settings)
    one.on("a", FIRST, 100, end, outcome)
    one.on("b", FIRST, 105, 106)
    return one


class TestADeath:
    def test_a_killed_process_explains_its_run(self) -> None:
        one = book()
        one.struck("kill-child", "child", "a", 103, 103.4, FIRST)
        assert one.again() == {"again: kill-child": 1}

    def test_without_one_nothing_does(self) -> None:
        assert book().unexplained() == 1

    @pytest.mark.parametrize(("pod", "pid"), [("b", FIRST), ("c", FIRST), ("d", FIRST), ("a", SECOND)])
    def test_the_same_pid_in_another_pod_explains_nothing(self, pod: str, pid: int) -> None:
        one = book()
        one.sees("a", 2.5, FIRST, SECOND)
        one.sees(pod, 2.6, FIRST, SECOND)
        one.struck("kill-child", "child", pod, 103, 103.4, pid)
        assert one.unexplained() == 1

    @pytest.mark.parametrize(("pod", "unexplained"), [("a", 0), ("b", 1)])
    @pytest.mark.parametrize("kind", ["pod", "main"])
    @pytest.mark.parametrize("pids", [(), (MAIN,), (MAIN, FIRST, SECOND)])
    def test_a_container_ends_as_a_whole(self, pod: str, unexplained: int, kind: str, pids: tuple[int, ...]) -> None:
        one = book()
        one.struck("kill-pod", kind, pod, 103, 103.4, *pids)
        assert one.unexplained() == unexplained

    @pytest.mark.parametrize(("at", "until", "unexplained"), [(90, 99.7, 1), (99.9, 100.3, 0), (105.1, 105.5, 1)])
    def test_it_came_at_the_right_time(self, at: float, until: float, unexplained: int) -> None:
        one = book()
        one.struck("kill-pod", "pod", "a", at, until)
        assert one.unexplained() == unexplained

    def test_a_pod_that_nobody_saw_is_none_of_those_that_were_struck(self) -> None:
        one = Far()
        one.on("d", FIRST, 100)
        one.on("b", FIRST, 105, 106)
        for pod in "abc":
            one.struck("kill-child", "child", pod, 103, 103.4, FIRST)
        assert one.unexplained() == 1

    @pytest.mark.parametrize(("host", "pid", "unexplained"), [("a", FIRST, 0), ("b", FIRST, 1), ("a", SECOND, 1)])
    def test_a_job_that_ended_its_process_ended_only_that(self, host: str, pid: int, unexplained: int) -> None:
        one = book()
        one.struck("suicide", "child", host, 103, 103.1, pid, observed=True, detail={"host": host})
        assert one.unexplained() == unexplained

    def test_a_process_of_a_pod_that_nobody_saw_ended_itself(self) -> None:
        one = Far()
        one.on("d", FIRST, 100)
        one.on("b", FIRST, 105, 106)
        one.on("b", FIRST, 107, 108, nonce=1)
        one.struck("suicide", "child", "d", 103, 103.1, FIRST, observed=True, detail={"host": "d"})
        assert one.again() == {"again: suicide": 1}
        assert one.unexplained() == 1

    def test_a_kill_at_the_end_of_the_grace_period_is_seen_late(self) -> None:
        one = book()
        one.struck("grace-over", "pod", "a", 102.0, 104.9, observed=True)
        assert one.again() == {"again: grace-over": 1}
        one.faults.clear()
        one.struck("grace-over", "pod", "b", 102.0, 104.9, observed=True)
        assert one.unexplained() == 1

    def test_an_end_that_nobody_armed_explains_nothing(self) -> None:
        one = book()
        one.event("a", "end", 103.0, code=70, since=101.9)
        assert one.unexplained() == 1


class TestAContainerThatStartsAgain:
    """The second one is `a-1`; host and process ids are the same."""

    def book(self, start: float, **second: float) -> Far:
        one = Far()
        one.event("a", "end", 103.0, code=-9, since=101.8)
        one.container("a-1", "a", since=second.get("since", 101.8), at=second.get("at", 103.0))
        one.on("a", FIRST, start)
        one.on("b", FIRST, 120, 121)
        return one

    @pytest.mark.parametrize(("start", "pod"), [(101.0, "a"), (104.0, "a-1")])
    def test_only_the_death_of_its_own_run_explains_it(self, start: float, pod: str) -> None:
        for name in ("a", "a-1"):
            one = self.book(start)
            one.struck("kill-main", "main", name, 101.5, 110.0)
            assert one.unexplained() == (name != pod)

    @pytest.mark.parametrize(("pids", "pod"), [((SECOND,), "a"), ((FIRST, SECOND), "a-1")])
    def test_when_both_may_have_had_it_the_one_that_was_seen_with_it_did(self, pids: tuple[int, ...], pod: str) -> None:
        one = self.book(102.5)
        one.sees("a", 3.0, SECOND)
        one.sees("a-1", 104.0, *pids)
        fleet = Fleet(sorted(one.events, key=lambda event: event.at))
        assert fleet.process(one.runs[0]).pod == pod

    def test_a_suicide_is_of_the_container_that_ran_then(self) -> None:
        for at, unexplained in ((104.5, 0), (101.0, 1)):
            one = self.book(104.0)
            one.struck("suicide", "child", "a", at, at + 0.1, FIRST, observed=True, detail={"host": "a"})
            assert one.unexplained() == unexplained

    def test_a_kill_that_was_armed_is_known_to_the_moment(self) -> None:
        one = Far()
        one.event("a", "end", 103.0, code=-9, since=102.7)
        one.container("a-1", "a", since=101.8, at=104.0)
        fleet = Fleet(sorted(one.events, key=lambda event: event.at))
        pods = [fleet.process(one.on("a", FIRST, at, nonce=number)).pod for number, at in enumerate((102.9, 103.1))]
        assert pods == ["a", "a-1"]


class TestHolds:
    @pytest.mark.parametrize(("pod", "unexplained"), [("a", 0), ("b", 1), ("c", 1)])
    def test_a_frozen_pod_is_no_other(self, pod: str, unexplained: int) -> None:
        one = book(end=140, outcome="done")
        one.fault("freeze-pod", "held", 101, MAIN, FIRST, SECOND, target=pod, ended_at=130, detail={"cut": True})
        assert one.unexplained() == unexplained

    def test_an_interpreter_that_is_held_is_that_of_one_pod(self) -> None:
        """The settle of job 1 was late because something held its process; not because of one of the same id."""
        for host, unexplained in (("a", 0), ("c", 1)):
            one = book(end=101, outcome="done")
            one.job(2, kind="gil")
            one.run(2, FIRST, 100.5, 104, identity=f"{host}:{FIRST}:0")
            one.struck("kill-child", "child", "a", 103.9, 104.0, FIRST)
            assert one.unexplained() == unexplained


class TestAStop:
    def interrupted(self, noted: float, since: float) -> Far:
        one = book(end=103, outcome="interrupted")
        one.event("a", "term", noted, grace=10, since=since)
        return one

    def test_it_may_have_been_told_before_that_was_noted(self) -> None:
        assert self.interrupted(104.0, 102.8).again() == {"again: stop": 1}

    def test_but_not_before_the_list_that_did_not_show_it(self) -> None:
        assert self.interrupted(104.5, 103.1 + GRAIN).unexplained() == 1

    def test_another_pod_was_told(self) -> None:
        one = book(end=103, outcome="interrupted")
        one.event("b", "term", 102.9, grace=10, since=102.5)
        assert one.unexplained() == 1

    @pytest.mark.parametrize(
        ("pod", "told", "unexplained"),
        [
            ("a", 101.0, 0),
            ("b", 101.0, 1),
            ("a", 103.1, 1),
            ("a", 100 - 2.0 - HOOK - GIVES_UP - GRAIN - 0.1, 0),
            ("a", 100 - 2.0 - HOOK - GIVES_UP - GRAIN - 0.3, 1),
        ],
        ids=["it", "another", "too late", "just late enough", "too early"],
    )
    def test_a_process_that_does_not_unwind_is_killed(self, pod: str, told: float, unexplained: int) -> None:
        one = book(stop=2.0)
        one.event(pod, "term", told + 0.2, grace=10, since=told)
        assert one.unexplained() == unexplained


def test_recovery_is_measured_from_when_the_kill_was_over() -> None:
    one = Far()
    one.on("a", FIRST, 100)
    one.struck("kill-pod", "pod", "a", 103.0, 104.0)
    one.on("b", FIRST, 105.5, 106)
    (seconds,) = one.recovery("pod").seconds
    assert seconds == pytest.approx(1.5)


def test_a_pod_serves_until_it_may_have_been_told() -> None:
    """Pod `b` is the only other one that could tell the death, and may have been told to stop meanwhile."""
    for since, bounded in ((104.0, 0), (108.0, 1)):
        one = Far()
        one.events = [event for event in one.events if event.pod != "c"]
        one.on("a", FIRST, 100)
        one.struck("kill-pod", "pod", "a", 103.0, 103.0)
        one.event("b", "term", 108.5, since=since)
        one.on("b", FIRST, 105.5, 106)
        assert len(one.recovery("pod").bounded) == bounded


def test_what_nobody_could_measure_is_not_said_to_be_judged() -> None:
    one = Far()
    one.end(connections=None, processes=None, descriptors=None, idle=None)
    leaks, liveness = one.check("leaks"), one.check("liveness")
    assert leaks.ok
    assert liveness.ok
    assert leaks.judged == 1
    assert "connections, processes, open files could not be seen there and are not judged" in leaks.promise
    assert "traffic could not be seen there and is not judged" in liveness.promise
    one.end(strange_keys=["turn:x: ends never"], drained_at=None)
    assert len(one.found("leaks")) == 1
    assert len(one.found("liveness")) == 1


def test_what_was_measured_is_said_to_be_judged() -> None:
    assert "not judged" not in Book().check("leaks").promise + Book().check("liveness").promise


def test_a_container_that_started_again_may_look_ready_before_it_is() -> None:
    """Pod `b` is the only other one that could tell the death; what is listed of it may be its last container's."""
    for again, bounded in ((False, 1), (True, 0)):
        one = Far()
        one.events = [event for event in one.events if event.pod == "a"]
        if again:
            one.container("b", "b", since=0.5, at=1.0)
            one.event("b", "end", 95.0, code=-9)
        one.container("b-1", "b", since=95.0, at=96.0)
        one.on("a", FIRST, 100)
        one.struck("kill-pod", "pod", "a", 103.0, 103.0)
        one.on("b", FIRST, 105.5, 106)
        assert len(one.recovery("pod").bounded) == bounded
