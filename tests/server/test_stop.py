"""Quiet and stop: nothing fails, nothing runs twice, and what could not finish goes back unharmed."""

import signal

import orjson
import pytest

from chaos.eventually import eventually
from tests.support.fleet import Fleet
from tests.support.ledger import now
from tests.support.pod import Pod

SOON = {"RELIQ_TIMEOUT": "0.2", "RELIQ_GRACE": "0.5"}
"""A short time to finish in, and a short one to unwind in."""

UNWOUND = 2.0
"""Seconds within which interrupted jobs are back and the pod has ended, with SOON."""


def public(fleet: Fleet, queue: str = "default") -> list[bytes]:
    """Payloads in the order in which they would be claimed."""
    return fleet.items(f"queue:{queue}")[::-1]


def assert_nothing_against_anybody(fleet: Fleet) -> None:
    """No failure, no crash, no retry, nothing held."""
    assert fleet.stat("failed") == 0
    assert fleet.client.exists("retry", "dead", "crashes") == 0
    assert fleet.held() == 0
    assert fleet.lists("quarantine:*") == {}


def run(fleet: Fleet, name: str, *args: object) -> str:
    """Enqueue and wait until it runs."""
    jid = fleet.enqueue(name, *args)
    fleet.started(jid)
    return jid


# -- quiet


def test_a_quiet_worker_finishes_and_claims_no_more(fleet: Fleet) -> None:
    pod = fleet.start(processes=2, concurrency=2)
    jid = run(fleet, "gated", "end")
    pod.quiet()
    result = fleet.command("quiet", "--pidfile", str(pod.pidfile), "--wait", "0.2")
    assert result.code == 1, "one job still runs"
    assert "1 of 1 workers still run jobs after 0.2 s (1 jobs)" in result.error
    later = [fleet.enqueue("quick", n) for n in range(5)]
    fleet.open("end")
    fleet.done([jid])
    assert fleet.command("quiet", "--pidfile", str(pod.pidfile), "--wait", "5").code == 0
    assert fleet.jids("queue:default")[::-1] == later
    assert {event.jid for event in fleet.ledger.events("start")} == {jid}
    assert pod.running()
    assert len(pod.identities()) == 2, "it beats on"
    assert pod.stop_and_wait() == 0
    assert fleet.jids("queue:default")[::-1] == later
    assert_nothing_against_anybody(fleet)


def test_quiet_needs_no_wait(fleet: Fleet) -> None:
    pod = fleet.start()
    assert fleet.command("quiet", "--pidfile", str(pod.pidfile)).code == 0
    assert orjson.loads(pod.pidfile.read_bytes()) == {"pid": pod.pid, "state": "quiet", "busy": 0}


# -- stop, in time


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_job_that_runs_finishes_within_the_time(fleet: Fleet, number: int) -> None:
    pod = fleet.start(concurrency=2)
    jids = [run(fleet, "gated", "end"), run(fleet, "patient", 0.5)]
    pod.signal(number)
    eventually(lambda: pod.logged("stopping: jobs have 25 s"))
    later = [fleet.enqueue("quick", n) for n in range(5)]
    fleet.open("end")
    assert pod.wait() == 0
    assert fleet.ledger.done(jids)
    assert len(fleet.ledger.events("start")) == 2
    assert fleet.jids("queue:default")[::-1] == later
    assert fleet.stat("processed") == 2
    assert_nothing_against_anybody(fleet)
    assert not pod.pidfile.exists()
    assert fleet.client.exists("processes") == 0, "it takes itself out of the view"


def test_an_interrupt_that_is_swallowed_leaves_a_job_that_finishes_in_time_done(fleet: Fleet) -> None:
    pod = fleet.start(environment={"RELIQ_TIMEOUT": "0.2"})
    jid = run(fleet, "swallow", 1.0)
    assert pod.stop_and_wait() == 0
    assert [event.note for event in fleet.ledger.events("swallowed", jid=jid)] == ["JobInterrupted"]
    assert fleet.ledger.done([jid])
    assert public(fleet) == []
    assert fleet.stat("processed") == 1
    assert_nothing_against_anybody(fleet)


# -- stop, out of time


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_out_of_time_goes_back_to_the_front_in_order_and_unharmed(fleet: Fleet, number: int) -> None:
    jids = [fleet.enqueue("gated", "never", n) for n in range(3)] + [fleet.enqueue("quick", n) for n in range(4)]
    before = public(fleet)
    pod = fleet.start(concurrency=3, environment=SOON)
    for jid in jids[:3]:
        fleet.started(jid)
    began = now()
    pod.signal(number)
    assert pod.wait() == 0
    assert now() - began < 0.2 + UNWOUND
    assert public(fleet) == before, "the same bytes in the same order"
    assert len(fleet.ledger.events("interrupted")) == 3
    assert fleet.stat("processed") == 0
    assert_nothing_against_anybody(fleet)

    fleet.open("never")
    fleet.start(concurrency=3)
    fleet.done(jids)
    assert {event.crashes for event in fleet.ledger.events("start", name="gated")} == {0}
    assert {event.attempt for event in fleet.ledger.events("start", name="gated")} == {1}


def test_a_coroutine_out_of_time_is_cancelled_and_goes_back(fleet: Fleet) -> None:
    pod = fleet.start(environment=SOON)
    jid = run(fleet, "patient", 60)
    before = fleet.enqueue("quick")
    fleet.done([before])
    assert pod.stop_and_wait(0.2 + UNWOUND) == 0
    assert [event.note for event in fleet.ledger.events("interrupted")] == ["CancelledError"]
    assert fleet.jids("queue:default") == [jid]
    assert_nothing_against_anybody(fleet)


@pytest.mark.parametrize("name", ["sleepy", "swallow", "hold"])
def test_threads_that_do_not_unwind_are_killed_before_their_jobs_are_handed_back(fleet: Fleet, name: str) -> None:
    pod = fleet.start(processes=2, concurrency=2, environment=SOON)
    jids = [run(fleet, name, 60, n) for n in range(2)]
    before = {event.pid for event in fleet.ledger.events("start")}
    pod.stop()
    assert pod.wait(0.2 + 0.5 + 2.0 + UNWOUND) == 0, "timeout, grace, the time for a process that does not even say so"
    eventually(lambda: not pod.members(), 2, "its fork server has ended too")
    assert sorted(fleet.jids("queue:default")) == sorted(jids)
    assert {event.pid for event in fleet.ledger.events("start")} == before, "nobody has run them again"
    assert_nothing_against_anybody(fleet)


def test_a_second_term_shortens_the_time(fleet: Fleet) -> None:
    pod = fleet.start(environment={"RELIQ_TIMEOUT": "600"})
    jid = run(fleet, "gated", "never")
    pod.stop()
    eventually(lambda: pod.logged("stopping: jobs have 600 s"))
    assert pod.running()
    pod.stop()
    assert pod.wait(UNWOUND) == 0
    assert pod.logged("told to stop again")
    assert fleet.jids("queue:default") == [jid]
    assert_nothing_against_anybody(fleet)


def test_a_quiet_worker_can_be_stopped(fleet: Fleet) -> None:
    pod = fleet.start(environment=SOON)
    jid = run(fleet, "gated", "never")
    pod.quiet()
    eventually(lambda: pod.logged("quiet:"))
    assert pod.stop_and_wait(0.2 + UNWOUND) == 0
    assert fleet.jids("queue:default") == [jid]
    assert_nothing_against_anybody(fleet)


def test_a_pod_killed_while_it_stops_is_no_crash_of_its_jobs(fleet: Fleet) -> None:
    """Kubernetes kills what outlives its grace period: the job was told to stop, and is not to blame."""
    pod = fleet.start()
    jid = run(fleet, "gated", "end")
    [identity] = pod.identities()
    pod.stop()
    eventually(lambda: fleet.entries()[identity].get("stopping"))
    fleet.start()
    pod.kill()
    fleet.started(jid, times=2)
    fleet.open("end")
    fleet.done([jid])
    assert fleet.ledger.started(jid)[1].crashes == 0
    fleet.drained()
    assert_nothing_against_anybody(fleet)


def test_a_worker_process_killed_while_it_stops_is_no_crash_of_its_jobs(fleet: Fleet) -> None:
    pod = fleet.start(processes=2)
    jid = run(fleet, "gated", "never")
    pod.stop()
    eventually(lambda: len(pod.workers()) == 1, 5, "the idle one has left")
    pod.kill_worker()
    assert pod.wait() == 0
    assert fleet.jids("queue:default") == [jid]
    assert_nothing_against_anybody(fleet)


def test_stop_while_it_starts_up(fleet: Fleet) -> None:
    jid = fleet.enqueue("quick")
    for _ in range(3):
        pod = fleet.start(processes=2, wait=False)
        eventually(pod.pidfile.exists, 10)
        pod.stop()
        assert pod.wait() == 0
    fleet.start()
    fleet.done([jid])
    fleet.drained()
    assert len(fleet.ledger.started(jid)) == 1
    assert_nothing_against_anybody(fleet)


def test_a_thread_that_a_job_left_behind_does_not_hold_up_the_end(fleet: Fleet) -> None:
    pod = fleet.start()
    fleet.done([fleet.enqueue("linger", 60)])
    assert pod.stop_and_wait(5) == 0
    assert_nothing_against_anybody(fleet)


# -- a rolling deploy


def test_jobs_survive_a_rolling_restart_under_load(fleet: Fleet) -> None:
    """Pods come and go; every job runs, none fails, and only what was interrupted runs twice."""
    pods: list[Pod] = [fleet.start(processes=2, environment=SOON)]
    jids = [fleet.enqueue("slow", 0.02 * (n % 20), n) for n in range(120)]
    for _ in range(3):
        pods.append(fleet.start(processes=2, environment=SOON))
        assert pods[-2].stop_and_wait() == 0
    fleet.done(jids, 15)
    fleet.drained()
    assert fleet.ledger.unexplained(lambda run: False) == []
    assert fleet.stat("processed") == len(jids)
    assert_nothing_against_anybody(fleet)
