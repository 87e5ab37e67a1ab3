"""SIGSTOP and SIGCONT: a process that is not dead, but cannot show it; and one that is busy, and only looks dead."""

import os
import signal
from pathlib import Path

import pytest

from chaos.eventually import eventually
from tests.support.fleet import CONFIRM, TTL, Fleet
from tests.support.ledger import now


@pytest.mark.parametrize("what", ["pod", "supervisor"])
def test_one_that_thaws_after_its_death_settles_nothing_and_works_on(fleet: Fleet, what: str) -> None:
    pod = fleet.start(concurrency=2)
    jid = fleet.enqueue("gated", "end")
    fleet.started(jid)
    [identity] = pod.identities()
    other = fleet.start(concurrency=2)
    if what == "pod":
        pod.freeze()
    else:
        pod.signal(signal.SIGSTOP)
    frozen = now()
    fleet.started(jid, times=2)
    first, second = fleet.ledger.started(jid)
    assert second.pid in other.workers()
    assert second.at - frozen > TTL, "a living connection is no hint of a death"
    assert fleet.heartbeat(identity) == b"fenced"
    assert first.fence is not None
    assert second.fence is not None
    assert second.fence > first.fence
    pod.thaw()
    fleet.open("end")

    # Both runs come to their end; only the one that owns the job settles it.
    eventually(lambda: {event.pid for event in fleet.ledger.finished(jid)} >= {second.pid})
    eventually(lambda: pod.logged("was declared dead"))
    eventually(lambda: [one for one in pod.identities() if one != identity], 5, "it registers anew")
    eventually(lambda: len(fleet.ledger.finished(jid)) == 2, 5, "the old run ends as well")
    fleet.drained()
    assert fleet.stat("processed") == 1
    assert fleet.lists(f"private:{identity}:*") == {}

    # The thawed process works on, under its new name.
    other.kill()
    jids = [fleet.enqueue("quick", n) for n in range(6)]
    fleet.done(jids)
    runs = [event for one in jids for event in fleet.ledger.started(one)]
    assert {event.pid for event in runs} == set(pod.workers())
    assert {event.identity for event in runs} == set(pod.identities())
    assert identity not in pod.identities()
    assert len(runs) == len(jids)


def states(pid: int) -> list[str]:
    """The states of a process's threads, as `S`; `T` is stopped."""
    tasks = Path(f"/proc/{pid}/task").glob("*/stat")
    return [task.read_text().rpartition(")")[2].split()[0] for task in tasks]


def test_a_frozen_worker_process_is_not_dead_while_its_supervisor_beats(fleet: Fleet) -> None:
    """Stuck is not dead: its job waits for it, and runs once."""
    pod = fleet.start(concurrency=1)
    jid = fleet.enqueue("gated", "end")
    fleet.started(jid)
    other = fleet.start(concurrency=1)
    [pid] = pod.workers()
    os.kill(pid, signal.SIGSTOP)
    # Each of its threads stops when it is next looked at: on a busy machine that takes a while.
    eventually(lambda: all(state == "T" for state in states(pid)), 5, "all of it stands still")
    fleet.open("end")
    at = now()
    eventually(lambda: now() - at > TTL + CONFIRM + 0.5, 5)
    assert fleet.ledger.finished(jid) == []
    os.kill(pid, signal.SIGCONT)
    fleet.done([jid])
    fleet.drained()
    assert len(fleet.ledger.started(jid)) == 1
    assert other.running()


def test_a_job_that_holds_the_interpreter_does_not_make_its_process_look_dead(fleet: Fleet) -> None:
    pod = fleet.start(concurrency=2)
    jid = fleet.enqueue("hold", 3 * TTL)
    fleet.started(jid)
    identities = pod.identities()
    fleet.start(concurrency=2)
    fleet.done([jid])
    fleet.drained()
    assert len(fleet.ledger.started(jid)) == 1
    assert fleet.stat("processed") == 1
    assert pod.identities() == identities, "it never lost its name"
    assert "dead" not in fleet.logs()
