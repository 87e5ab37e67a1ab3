"""Probes of a worker: they fail when it does not consume, and only then."""

import os
import signal
import time
from typing import Any

import orjson
import pytest
import redis

from chaos.eventually import eventually
from chaos.servers import free_port
from tests.conftest import FreshServer
from tests.exporter.conftest import ask
from tests.support.fleet import Fleet
from tests.support.pod import Pod

LIVE = 2.5
"""Seconds of --live here: a doorbell's empty answer comes within 0.25 s with the fleet's fast settings."""


class Probed:
    """A pod and its probes."""

    def __init__(self, fleet: Fleet, *options: str, **more: Any) -> None:
        self.port = free_port()
        words = ["--http", f"127.0.0.1:{self.port}", "--live", str(LIVE), *options]
        self.pod: Pod = fleet.start(options=words, **more)

    def says(self, page: str) -> tuple[int, dict[str, Any]]:
        """Status and report."""
        status, text = ask(self.port, page)
        return status, orjson.loads(text)

    def live(self) -> int:
        return self.says("/live")[0]

    def ready(self) -> int:
        return self.says("/ready")[0]

    def states(self) -> list[str]:
        return sorted(process["state"] for process in self.says("/live")[1]["processes"])

    def until(self, page: str, status: int, within: float = 15.0) -> dict[str, Any]:
        """Wait for this answer."""
        eventually(lambda: self.says(page)[0] == status, within, f"{page} answers {status}")
        return self.says(page)[1]

    def stays(self, page: str, status: int, seconds: float) -> None:
        """Ask over and over for so long: each answer must be this one."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found, report = self.says(page)
            assert found == status, report


def test_an_idle_worker_is_live_and_ready(fleet: Fleet) -> None:
    one = Probed(fleet, processes=2)
    report = one.until("/ready", 200)
    assert (report["live"], report["ready"], report["state"]) == (True, True, "running")
    assert [process["state"] for process in report["processes"]] == ["consuming", "consuming"]
    assert {process["identity"] for process in report["processes"]} == set(fleet.entries())
    one.stays("/live", 200, 1.5 * LIVE)
    assert one.ready() == 200


def test_all_slots_taken_for_long_is_no_reason_to_die(fleet: Fleet) -> None:
    one = Probed(fleet, concurrency=2)
    jids = [fleet.enqueue("gated", "g") for _ in range(3)]
    fleet.started(jids[0])
    eventually(lambda: one.states() == ["busy"], 10)
    one.stays("/live", 200, 1.5 * LIVE)
    assert one.ready() == 200
    fleet.open("g")
    one.stays("/live", 200, 1.0)  # also at the moment at which slots become free
    fleet.done(jids)


def test_a_frozen_process_is_found_out_and_forgiven(fleet: Fleet) -> None:
    one = Probed(fleet, processes=2)
    one.until("/ready", 200)
    victim = one.pod.workers()[0]
    os.kill(victim, signal.SIGSTOP)
    try:
        report = one.until("/live", 503)
        assert f"process {victim} stopped" in report["reason"]
        assert one.states() == ["consuming", "stopped"]
        assert one.ready() == 503
    finally:
        os.kill(victim, signal.SIGCONT)
    one.until("/live", 200)
    one.until("/ready", 200)


def test_a_frozen_process_with_all_slots_taken_is_found_out(fleet: Fleet) -> None:
    one = Probed(fleet, concurrency=1)
    jid = fleet.enqueue("gated", "g")
    fleet.started(jid)
    eventually(lambda: one.states() == ["busy"], 10)
    [victim] = one.pod.workers()
    os.kill(victim, signal.SIGSTOP)
    try:
        one.until("/live", 503)
    finally:
        os.kill(victim, signal.SIGCONT)
    one.until("/live", 200)
    fleet.open("g")


def test_a_paused_queue_is_no_reason_to_die(fleet: Fleet) -> None:
    fleet.client.sadd(fleet.key("paused"), "default")
    one = Probed(fleet)
    one.until("/ready", 200)
    one.stays("/live", 200, 2 * LIVE)


def test_a_quiet_worker_is_live_but_not_ready(fleet: Fleet) -> None:
    one = Probed(fleet)
    jid = fleet.enqueue("gated", "g")
    fleet.started(jid)
    one.until("/ready", 200)
    one.pod.quiet()
    report = one.until("/ready", 503)
    assert report["reason"] == "the worker is quiet"
    one.stays("/live", 200, 1.5 * LIVE)
    one.pod.stop()
    eventually(lambda: one.says("/ready")[1]["state"] == "stopping", 10)
    assert one.live() == 200
    fleet.open("g")
    one.pod.wait()


def test_a_killed_process_is_replaced_and_the_pod_stays_live(fleet: Fleet) -> None:
    one = Probed(fleet)
    one.until("/ready", 200)
    [victim] = one.pod.workers()
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: one.pod.workers() not in ([], [victim]), 10)
    one.until("/ready", 200)
    assert one.live() == 200


def test_without_redis_it_does_not_consume(fresh_server: FreshServer) -> None:
    own = fresh_server(tcp=True)
    with Fleet(own.url) as fleet:
        one = Probed(fleet)
        one.until("/ready", 200)
        os.kill(own.pid, signal.SIGSTOP)
        try:
            report = one.until("/live", 503)
            assert "no turn happens" in report["reason"]
        finally:
            os.kill(own.pid, signal.SIGCONT)
        one.until("/live", 200)
        one.until("/ready", 200)
        jid = fleet.enqueue("quick")
        fleet.done([jid])


def test_before_redis_is_there_it_starts_and_then_fails(fleet: Fleet, redis_client: redis.Redis) -> None:
    del redis_client
    one = Probed(fleet, url=f"redis://127.0.0.1:{free_port()}", wait=False)
    eventually(lambda: _answers(one), 15)
    report = one.until("/live", 503)
    assert one.states() == ["unreachable"]
    assert "cannot reach Redis to begin" in report["reason"]
    one.pod.stop()
    one.pod.wait()


def _answers(one: Probed) -> bool:
    try:
        return one.ready() == 503
    except OSError:
        return False


def test_a_port_in_use_is_said_in_one_line(fleet: Fleet) -> None:
    one = Probed(fleet)
    result = fleet.command("worker", "-A", "tests.support.jobs:app", "--url", fleet.url, "--http", f":{one.port}")
    assert result.code == 2
    assert result.error.count("\n") == 1
    assert str(one.port) in result.error


@pytest.mark.parametrize("words", [("--http", "nonsense"), ("--live", "0.5"), ("--live", "nan")])
def test_bad_values_are_said_in_one_line(fleet: Fleet, words: tuple[str, str]) -> None:
    result = fleet.command("worker", "-A", "tests.support.jobs:app", "--url", fleet.url, *words)
    assert (result.code, result.error.count("\n")) == (2, 1), result.error
