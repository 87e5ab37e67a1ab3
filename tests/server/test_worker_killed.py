"""A worker process is killed with SIGKILL: its supervisor sees it, and its jobs run again at once."""

import os
import random
import signal
from functools import partial
from itertools import pairwise

from chaos.eventually import eventually
from chaos.servers import Server
from tests.server.conftest import FleetOn
from tests.support.fleet import Fleet, median
from tests.support.ledger import Event, now

JOBS = 240
KILLS = 12


def passed(time: float) -> bool:
    """Whether this moment is over."""
    return now() > time


def test_kills_at_random_moments_under_load_lose_nothing(fleet: Fleet) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")  # noqa: T201 - shown when the test fails
    dice = random.Random(seed)
    fleet.settings["crash_limit"] = 50  # a job may be hit often here; the budget has tests of its own
    pods = [fleet.start(processes=2, concurrency=4) for _ in range(2)]
    jids = [fleet.enqueue("slow", dice.uniform(0.0, 0.15), n) for n in range(JOBS)]

    killed: dict[int, float] = {}
    for _ in range(KILLS):
        eventually(partial(passed, now() + dice.uniform(0.02, 0.25)))
        pod = dice.choice(pods)
        if pod.workers():
            pid = dice.choice(pod.workers())
            killed[pid] = now()
            pod.kill_worker(pid)
    fleet.done(jids, within=20)
    fleet.drained()

    assert fleet.ledger.unexplained(lambda run: run.pid in killed) == []
    waits = [
        [again.at - killed[run.pid] for run, again in pairwise(starts)] for starts in fleet.ledger.repeated().values()
    ]
    recoveries = [first for first, *_ in waits]
    print(f"{len(killed)} kills, {sum(map(len, waits))} jobs ran again")  # noqa: T201
    assert recoveries, "no kill has hit a running job"
    assert median(recoveries) < 0.5
    assert max(recoveries) < 1.0
    # One that was hit a second time runs alone: it waits for a process of its own, and for its turn in there.
    assert max(wait for _, *further in waits for wait in [0.0, *further]) < 10.0
    assert fleet.stat("processed") == len(jids)
    assert fleet.stat("failed") == 0
    assert fleet.client.hlen("crashes") == 0, "a success clears the record"


def test_on_an_idle_fleet_a_killed_worker_has_its_job_back_in_milliseconds(fleet: Fleet) -> None:
    pods = [fleet.start(concurrency=1) for _ in range(2)]
    recoveries = []
    for _ in range(6):
        jid = fleet.enqueue("slow", 0.15)
        fleet.started(jid)
        run: Event = fleet.ledger.started(jid)[0]
        pod = next(pod for pod in pods if run.pid in pod.workers())
        killed = now()
        pod.kill_worker(run.pid)
        fleet.done([jid])
        recoveries.append(fleet.ledger.started(jid)[1].at - killed)
        for each in pods:
            each.ready()
    print(f"recovered after {', '.join(f'{1000 * one:.0f} ms' for one in recoveries)}")  # noqa: T201
    assert median(recoveries) < 0.1
    assert fleet.ledger.unexplained(lambda run: True) == []
    assert all(len(starts) == 2 for starts in fleet.ledger.repeated().values())


def test_a_killed_worker_is_replaced(fleet: Fleet) -> None:
    pod = fleet.start(processes=2)
    dead = pod.kill_worker()
    eventually(lambda: dead not in pod.workers())
    pod.ready(2)
    assert pod.logged(f"process {dead} was killed by SIGKILL")
    assert len(fleet.entries()) == 3, "the dead identity stays in the walk for a while"
    jids = [fleet.enqueue("quick", n) for n in range(10)]
    fleet.done(jids)


def test_the_fork_server_may_be_killed_too(fleet: Fleet) -> None:
    """It has nothing that is needed: the workers go on, and the next one is started by a new fork server."""
    pod = fleet.start(concurrency=2)
    jid = fleet.enqueue("gated", "end")
    fleet.started(jid)
    workers = pod.workers()
    for pid in pod.helpers():
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not pod.helpers())
    fleet.done([fleet.enqueue("quick")])
    assert pod.workers() == workers
    pod.kill_worker()
    fleet.started(jid, times=2)
    fleet.open("end")
    fleet.done([jid])
    assert pod.stop_and_wait() == 0
    assert fleet.stat("processed") == 2


def test_it_all_holds_in_a_namespace_and_another_database(server: Server, fleet_on: FleetOn) -> None:
    with server.client(db=3) as client:
        fleet = fleet_on(f"{server.url}?db=3", namespace="{shop}")
        pod = fleet.start(processes=2, concurrency=2)
        jid, failing = fleet.enqueue("gated", "end"), fleet.enqueue("fail", retry=1)
        fleet.started(jid)
        pod.kill_worker(fleet.ledger.started(jid)[0].pid)
        fleet.started(jid, times=2)
        fleet.open("end")
        eventually(lambda: fleet.jids("retry") == [failing])
        fleet.make_due()
        eventually(lambda: fleet.jids("dead") == [failing])
        fleet.drained()
        pod.stop_and_wait()
        strangers = [key for key in client.scan_iter() if not key.startswith(b"{shop}:")]
        assert strangers == []
    with server.client() as client:
        assert client.dbsize() == 0


def test_jobs_that_had_not_started_come_back_in_order_and_uncounted(fleet: Fleet) -> None:
    """What was claimed but never started is no suspect; what ran is."""
    pod = fleet.start(concurrency=2)
    running = [fleet.enqueue("gated", "never") for _ in range(2)]
    for jid in running:
        fleet.started(jid)
    waiting = [fleet.enqueue("quick", n) for n in range(3)]
    pod.quiet()
    eventually(lambda: pod.logged("quiet:"))
    pod.kill_worker()
    eventually(lambda: len(fleet.jids("queue:default")) == 5)
    assert fleet.jids("queue:default")[::-1] == [*running, *waiting]
    assert fleet.crashed() == set(running)
