"""Real workers, a few hundred jobs: what comes out is what happened."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil
import pytest

from bench.claims import Many, watch
from bench.environments import CACHE, LeftOut
from bench.peers import OWN, PEERS
from bench.peers.ceiling import Ceiling
from bench.peers.lpush import Lpush
from bench.peers.peer import RowName
from bench.peers.reliq import Reliq
from bench.programs import Programs, environment
from bench.results import Sample
from bench.runner import measure
from bench.server import Place
from bench.stage import Sizes, stage
from chaos.eventually import eventually
from tests.bench.conftest import Fake
from tests.bench.names import HELD, LATE, WAITING

SMALL = Sizes(jobs=3000, enqueue=50, bulk=1500, samples=5, gap=0.005, steady=0.0, patience=0.5)


def numbers(sample: Sample) -> dict[str, float]:
    assert sample.failure is None
    return sample.values


def test_a_drain_of_reliq(place: Place) -> None:
    found = numbers(measure("drain-1", Reliq(Path()), place, SMALL))
    assert found["jobs"] == SMALL.jobs
    assert all(found[name] > 0 for name in ("rate", "server-cpu", "commands", "reads"))
    # Many are claimed and removed together.
    assert 0 < found["commands"] < 20
    assert 0 < found["scripts"] <= 1.5
    assert place.client.get("stat:failed") is None
    assert place.client.llen("queue:default") == 0


def test_two_processes_have_both_run_a_job_before_the_clock_starts(place: Place) -> None:
    with stage(Reliq(Path()), place, SMALL) as one, one.producer() as producer, one.worker(processes=2) as worker:
        one.warm(worker, producer, 2)
        assert len({pid for (pid,) in one.lines("warm")}) == 2
        assert one.peer.settled(place.client, producer.sent)


def test_the_ceiling_settles_everything_and_runs_nothing(place: Place) -> None:
    peer = Ceiling(Path())
    peer.turn = 50
    found = numbers(measure("drain-1", peer, place, SMALL))
    assert place.client.get("stat:processed") == b"3000"
    assert found["scripts"] >= 4 / 3000
    assert not list(place.client.scan_iter("private:*"))


def test_idle_latency_is_told_by_each_job(place: Place) -> None:
    found = numbers(measure("latency", Reliq(Path()), place, SMALL))
    assert found["samples"] == 5
    assert 0 < found["p50"] <= found["p99"] < 5000


@pytest.mark.parametrize("row", ["enqueue", "bulk"])
@pytest.mark.parametrize("peer", [Reliq, Lpush])
def test_enqueueing(place: Place, peer: type[Reliq | Lpush], row: RowName) -> None:
    found = numbers(measure(row, peer(Path()), place, SMALL))
    assert found["jobs"] == {"enqueue": 50, "bulk": 1500}[row]
    assert found["rate"] > 0
    assert place.client.llen("queue:default") == found["jobs"] + 100
    place.client.flushall()


def test_memory_is_that_of_all_processes(place: Place) -> None:
    found = numbers(measure("memory", Reliq(Path()), place, SMALL))
    assert found["processes"] >= 2
    assert found["memory"] > 10


def test_the_clock_stops_at_the_last_settle(place: Place) -> None:
    found = numbers(measure("drain-1", Fake("late"), place, SMALL))
    assert found["jobs"] / found["rate"] >= LATE


def test_killed_with_basic_fetch_the_job_is_lost(place: Place) -> None:
    assert numbers(measure("kill-worker", Fake("lossy"), place, SMALL)) == {"lost": 100, "kept": 0}


def test_killed_without_recovery_the_job_is_kept(place: Place) -> None:
    assert numbers(measure("kill-process", Fake("safe"), place, SMALL)) == {"lost": 0, "kept": 100}
    assert place.client.llen(HELD) == 1


def test_killed_process_of_reliq_runs_again(place: Place) -> None:
    sizes = Sizes(steady=0.0, patience=20.0)
    found = numbers(measure("kill-process", Reliq(Path()), place, sizes))
    assert found["lost"] == found["kept"] == 0
    assert 0 < found["recovery"] < 20


def test_a_worker_that_does_not_start_is_a_failure_with_its_last_words(place: Place) -> None:
    sample = measure("drain-1", Fake("broken"), place, SMALL)
    assert sample.values == {}
    assert sample.failure is not None
    assert "it is broken on purpose" in sample.failure
    place.client.flushall()


def test_parked_jobs_are_seen_by_nobody_until_they_are_released(place: Place) -> None:
    peer = Fake("safe")
    place.client.lpush(WAITING, "a", "b")
    peer.park(place.client)
    assert not place.client.exists(WAITING)
    peer.release(place.client)
    assert place.client.llen(WAITING) == 2


def test_programs_keep_to_their_processors_with_all_children(tmp_path: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    nested = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    with Programs([[sys.executable, "-c", nested]], tmp_path, environment(), frozenset({cpu})) as programs:
        eventually(lambda: len(programs.tree()) == 2, within=10)
        tree = programs.tree()
        assert all(process.cpu_affinity() == [cpu] for process in tree)
        assert programs.pss() > 0
        programs.kill()
    assert not [process for process in tree if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def test_many_queues_are_all_drained(place: Place) -> None:
    found = numbers(measure("drain-1", Many(7), place, SMALL))
    assert found["jobs"] == SMALL.jobs
    assert place.client.scard("queues") == 7
    assert not list(place.client.scan_iter("queue:*"))


def test_what_an_idle_worker_sends_is_counted_by_sender(place: Place) -> None:
    with stage(Many(2), place, SMALL) as one, one.producer() as producer, one.worker() as worker:
        one.warm(worker, producer)
        sent = watch(place, worker, 1.5)
    assert sent["supervisor"].get("EVALSHA", 0) >= 1  # it beats once a second
    assert set(sent) == {"supervisor", "process"}
    # What scripts call is no traffic.
    assert "PEXPIRE" not in sent["supervisor"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PEERS if name not in OWN])
def test_a_peer_that_is_installed_drains_and_settles(place: Place, name: str) -> None:
    try:
        peer = PEERS[name](CACHE, install=False)
    except LeftOut as reason:
        pytest.skip(f"{reason}; `python -m bench compare` installs it")
    found = numbers(measure("drain-1", peer, place, Sizes(jobs=400)))
    assert found["jobs"] == 400
    assert found["rate"] > 0
    place.client.flushall()
