"""Claiming ahead: quick jobs wait in a line; what waits behind a slow one goes to whoever is free."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis

from chaos.eventually import eventually
from reliq.job import encode, new_jid
from tests.support.fleet import Fleet

MARK = "the monitor has seen all before this"


def teach(fleet: Fleet, jobs: int = 40) -> None:
    """Let the workers find out that `gated` is quick: its gate is open."""
    fleet.open("free")
    fleet.done([fleet.enqueue("gated", "free", "lesson") for _ in range(jobs)])
    fleet.drained()


def push_at_once(fleet: Fleet, name: str, *arguments: Any) -> list[str]:
    """Enqueue one job for each argument in one step; their jids."""
    jids = [new_jid() for _ in arguments]
    payloads = [
        encode(name, [argument], {}, jid=jid, queue="default", retry=True, now=1.0)
        for jid, argument in zip(jids, arguments, strict=True)
    ]
    fleet.client.lpush("queue:default", *payloads)
    return jids


@contextmanager
def released(client: redis.Redis) -> Iterator[list[str]]:
    """Collect, by the end of the block, the payloads that turns have handed back, in that order."""
    found: list[str] = []
    with client.monitor() as monitor:  # type: ignore[no-untyped-call]
        yield found
        client.echo(MARK)
        for seen in monitor.listen():
            if MARK in seen["command"]:
                return
            if seen["client_type"] == "lua" and seen["command"].lower().startswith("rpush queue:default "):
                found.append(seen["command"].split(" ", 2)[2])


def test_what_waits_behind_a_slow_job_is_run_by_another_pod(fleet: Fleet) -> None:
    """A job that has always been quick takes its time: nobody waits for it while another pod has nothing to do."""
    fleet.start(concurrency=1, options=("--prefetch", "1"))  # on a busy machine nothing is done within 5 ms
    fleet.done([fleet.enqueue("slow", 0.03) for _ in range(12)])
    fleet.drained()
    with released(fleet.client) as back:
        slow, *others = push_at_once(fleet, "slow", 6.0, *[0.03] * 12)
        fleet.started(slow)
        fleet.start(concurrency=1)
        fleet.done(others, within=5.0)
        assert not [event for event in fleet.ledger.events("finish") if event.jid == slow], "it still runs"
    assert back, "something had been claimed ahead"
    handed_back = [jid for payload in back for jid in others if jid in payload]
    assert handed_back == sorted(handed_back, key=others.index, reverse=True), "so that the oldest lies foremost again"
    fleet.done([slow])
    fleet.drained()
    assert all(len(fleet.ledger.started(jid)) == 1 for jid in [slow, *others])


def test_mixed_loads_on_two_pods(fleet: Fleet) -> None:
    """Slow and quick jobs by turns, on all threads of two pods: no quick job waits for a slow one to end."""
    for _ in range(2):
        fleet.start(concurrency=2)
    teach(fleet)
    slow = [fleet.enqueue("slow", 4.0, n) for n in range(3)]
    for jid in slow:
        fleet.started(jid)
    quick = push_at_once(fleet, "gated", *["free"] * 200)
    fleet.done(quick, within=3.5)
    assert not [event for event in fleet.ledger.events("finish") if event.jid in slow]
    fleet.done(slow)
    fleet.drained()


def test_without_prefetch_no_more_is_claimed_than_there_are_threads(fleet: Fleet) -> None:
    fleet.start(concurrency=1, options=("--prefetch", "0"))
    teach(fleet)
    with released(fleet.client) as back:
        slow, *others = push_at_once(fleet, "gated", "closed", *["free"] * 30)
        fleet.started(slow)
        assert fleet.lists("private:*") == {f"private:{fleet.pods[0].identities()[0]}:default": 1}
        fleet.open("closed")
        fleet.done([slow, *others])
    assert back == []
    fleet.drained()


def test_slow_jobs_of_one_queue_get_their_share_beside_quick_ones_of_another(fleet: Fleet) -> None:
    """The one thread is never free while quick jobs come in; with equal weights the slow ones do not have to wait."""
    fleet.start(concurrency=1, queues=("quick,1", "slow,1"))
    fleet.done([fleet.enqueue("quick", queue="quick") for _ in range(40)])
    slow = [fleet.enqueue("slow", 0.06, queue="slow") for _ in range(5)]
    quick = [fleet.enqueue("quick", queue="quick") for _ in range(2000)]
    fleet.done(slow, within=20.0)
    finished = [event.jid for event in fleet.ledger.events("finish")]
    assert len(set(quick) - set(finished)) > 1000, "most of the quick ones are still to come"
    fleet.done(quick, within=30.0)
    fleet.drained("quick", "slow")


def test_start_and_end_are_logged_on_request(fleet: Fleet) -> None:
    silent = fleet.start(queues=("silent",))
    pod = fleet.start(options=("--log-jobs",))
    good, bad = fleet.enqueue("quick"), fleet.enqueue("fail", retry=0)
    unseen = fleet.enqueue("quick", queue="silent")
    fleet.done([good, unseen])
    eventually(lambda: fleet.jids("dead") == [bad])
    for line in (f"quick {good} starts", f"quick {good}: done after", f"fail {bad} starts", f"fail {bad}: bury after"):
        assert pod.logged(line), line
    assert not silent.logged(unseen)


@pytest.mark.parametrize("seconds", ["-1", "2", "nan"])
def test_an_odd_prefetch_is_refused(fleet: Fleet, seconds: str) -> None:
    result = fleet.command("worker", "-A", "tests.support.jobs:app", "--prefetch", seconds)
    assert result.code != 0
    assert result.error.count("\n") == 1
    assert "prefetch" in result.error
    assert "give seconds from 0 (off) to 1" in result.error
