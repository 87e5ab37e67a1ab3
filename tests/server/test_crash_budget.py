"""A job that kills its process: a few times, then never again; and its neighbours, who are not to blame."""

import json
import math
from types import SimpleNamespace
from typing import Any, cast

import pytest

from chaos.eventually import eventually
from chaos.servers import Server
from reliq.config import WorkerConfig
from reliq.server.children import Child
from reliq.server.role import Role
from reliq.server.supervisor import Supervisor
from tests.counterexamples.stage import Ledger, Loop, application
from tests.support.fleet import Fleet

LIMIT = 3


def test_a_killer_runs_three_times_and_then_lies_in_dead_with_the_reason(fleet: Fleet) -> None:
    fleet.start(processes=2, concurrency=4)
    neighbours = [fleet.enqueue("slow", 0.1, n) for n in range(30)]
    killer = fleet.enqueue("crash")
    neighbours += [fleet.enqueue("slow", 0.1, n) for n in range(30)]
    eventually(lambda: fleet.jids("dead") == [killer], 20, "the killer is buried")
    fleet.done(neighbours, 20)
    fleet.drained()

    runs = fleet.ledger.started(killer)
    assert [run.crashes for run in runs] == [0, 1, 2]
    assert {run.attempt for run in runs} == {1}, "a crash is no failed attempt"
    assert len({run.pid for run in runs}) == LIMIT
    dead_pids = {run.pid for run in runs}
    assert fleet.ledger.unexplained(lambda run: run.pid in dead_pids) == []

    [payload] = fleet.payloads("dead")
    assert payload["error_class"] == "Crashed"
    assert "was killed by SIGKILL" in payload["error_message"]
    assert f"crash {LIMIT} within 72 h" in payload["error_message"]
    assert "retry_count" not in payload
    assert (payload["class"], payload["args"], payload["queue"]) == ("crash", [], "default")
    assert fleet.client.hlen("crashes") == 0, "the neighbours' successes and the burial have cleared the records"
    assert fleet.client.zcard("retry") == 0


def test_the_third_run_is_alone_in_a_process_of_its_own(fleet: Fleet) -> None:
    pod = fleet.start(processes=1, concurrency=4)
    jid = fleet.enqueue("crash_times", 2)
    fleet.started(jid, times=3)
    fleet.done([jid])
    others = [fleet.enqueue("gated", "end", n) for n in range(4)]
    for one in others:
        fleet.started(one)
    third = fleet.ledger.started(jid)[2]
    assert third.crashes == 2
    assert {event.jid for event in fleet.ledger.events() if event.pid == third.pid} == {jid}
    fleet.open("end")
    fleet.done(others)
    eventually(lambda: third.pid not in pod.workers(), 10, "the process of the quarantine ends when it is empty")
    fleet.drained()
    assert fleet.client.hlen("crashes") == 0, "success clears the record"
    assert fleet.client.exists("dead", "retry") == 0
    assert fleet.stat("processed") == 5


def test_a_quarantine_does_not_block_its_queue(fleet: Fleet) -> None:
    fleet.start(concurrency=1)
    killers = [fleet.enqueue("crash_times", 2, n) for n in range(2)]
    fleet.done(killers, 20)
    third = [fleet.ledger.started(jid)[2] for jid in killers]
    ends = [fleet.ledger.finished(jid)[0] for jid in killers]
    assert third[1].at >= ends[0].at or third[0].at >= ends[1].at, "one at a time"
    fleet.drained()


@pytest.mark.parametrize("name", ["leave", "crash"])
def test_however_it_ends_its_process_it_is_counted(fleet: Fleet, name: str) -> None:
    fleet.start()
    jid = fleet.enqueue(name)
    eventually(lambda: fleet.jids("dead") == [jid], 20)
    assert len(fleet.ledger.started(jid)) == LIMIT
    cause = "exited with code 0" if name == "leave" else "was killed by SIGKILL"
    assert cause in fleet.payloads("dead")[0]["error_message"]


def test_a_killer_that_comes_back_from_the_dead_has_a_clean_record(fleet: Fleet) -> None:
    fleet.start()
    jid = fleet.enqueue("crash")
    eventually(lambda: fleet.jids("dead") == [jid], 20)
    [payload] = fleet.members("dead")
    fleet.client.delete("dead")
    fleet.push(payload)
    eventually(lambda: fleet.jids("dead") == [jid], 20)
    assert len(fleet.ledger.started(jid)) == 2 * LIMIT


def test_crashes_of_a_whole_pod_count_too(fleet: Fleet) -> None:
    """Here nobody saw the start in shared memory: what the dead process last showed must do."""
    heir = fleet.start(queues=["other"])
    jid = fleet.enqueue("gated", "never")
    for count in range(2):
        pod = fleet.start()
        fleet.started(jid, times=count + 1)
        eventually(lambda: jid in str(fleet.work()), 5, "what runs is shown")
        pod.kill()
        eventually(lambda: fleet.held() == 0, 10)
    heir.kill()
    assert fleet.jids("quarantine:default") == [jid]
    assert fleet.client.hget("crashes", jid) is not None
    fleet.open("never")
    fleet.start()
    fleet.done([jid])
    assert fleet.ledger.started(jid)[-1].crashes == 2
    fleet.drained()


class Told:
    """A pipe that keeps what is sent."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def send(self, message: Any) -> None:
        """Keep it."""
        self.told.append(message)


def test_whoever_ran_what_was_in_quarantine_is_not_hurried_when_that_is_empty() -> None:
    """It may have claimed the last job just now: nobody has told the pod to stop, so it may run as long as it likes.

    And if that job kills it, the crash counts.
    """
    pipe = Told()
    nurse = Child(
        process=cast(Any, SimpleNamespace(pid=None)),
        pipe=cast(Any, pipe),
        board=cast(Any, SimpleNamespace(held=0)),
        role=Role(worker=WorkerConfig(app="-"), version="0", quarantine=True),
        death=0,
        began=0.0,
        entry=cast(Any, "an entry"),
    )
    supervisor: Any = Supervisor(Role(worker=WorkerConfig(app="-", timeout=0.5), version="0"))
    supervisor._quarantine = SimpleNamespace(waiting=False)
    supervisor._children = [nurse]
    for _ in range(2):
        supervisor._mind_quarantine()
    assert pipe.told == [("stop", math.inf)]
    assert not nurse.told_to_stop
    nurse.stop(5.0)
    nurse.retired = False
    supervisor._mind_quarantine()
    assert pipe.told[1:] == [("stop", 5.0)], "who has been told to stop is told nothing more"
    supervisor._selector.close()


def test_one_that_leaves_for_want_of_jobs_does_not_call_it_a_stop(server: Server) -> None:
    """What runs in it may kill it, and then that counts; in a stop it would not."""
    ledger = Ledger()

    def announced() -> bool:
        with server.client() as client:
            (entry,) = client.hgetall("fleet").values()
        return bool(json.loads(entry)["stopping"])

    with application(server.url, ledger) as app, Loop(app, server.url) as loop:
        app.enqueue("gated")
        eventually(lambda: len(ledger.began) == 1)
        loop.tell_to_stop(math.inf)
        eventually(lambda: loop.worker._mute, why="it has heard that")
        assert not announced()
        loop.tell_to_stop(5.0)
        eventually(announced, why="a stop is a stop")
        ledger.gates[0].set()
