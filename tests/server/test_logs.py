"""What a worker logs: its own lines and those of its jobs, as text and as JSON."""

import json
import re
from typing import Any

import pytest

from chaos.eventually import eventually
from tests.conftest import FreshServer
from tests.server.conftest import FleetOn
from tests.support.fleet import Fleet
from tests.support.pod import Pod

JID = re.compile("[0-9a-f]{24}")


def lines(pod: Pod) -> list[dict[str, Any]]:
    """The log, of which each line must be JSON."""
    return [json.loads(line) for line in pod.log.splitlines()]


def of(pod: Pod, logger: str, text: str) -> list[dict[str, Any]]:
    """The lines of a logger that hold this text."""
    return [line for line in lines(pod) if line["logger"] == logger and text in line["msg"]]


def test_every_line_is_json_and_says_where_it_comes_from(fleet: Fleet) -> None:
    pod = fleet.start(options=["--log-format", "json", "--log-jobs"])
    (identity,) = pod.identities()
    jid, other = fleet.enqueue("says", "hello"), fleet.enqueue("async_says", "goodbye")
    fleet.done([jid, other])
    failed, buried = fleet.enqueue("fail", "no"), fleet.enqueue("once", retry=0)
    eventually(lambda: of(pod, "reliq.worker", f"{failed} failed") and of(pod, "reliq.worker", f"{buried} failed"), 10)
    assert pod.stop_and_wait() == 0

    (begun,) = of(pod, "reliq.supervisor", "jobs registered")
    assert begun["pid"] == pod.pid
    assert "identity" not in begun
    (said,) = of(pod, "tests.support.jobs", "hello")
    in_job = {"identity": identity, "jid": jid, "job": "says", "queue": "default", "attempt": 1}
    assert said.items() >= in_job.items()
    (said,) = of(pod, "tests.support.jobs", "goodbye")
    assert said.items() >= (in_job | {"jid": other, "job": "async_says"}).items()

    (start,) = of(pod, "reliq.worker", f"{jid} starts")
    assert start.items() >= in_job.items()
    (done,) = of(pod, "reliq.worker", f"{jid}: done after")
    assert done.items() >= (in_job | {"outcome": "done"}).items()
    assert 0 <= done["seconds"] < 10

    (retried,) = of(pod, "reliq.worker", f"{failed} failed and is retried")
    assert (retried["level"], retried["outcome"], retried["job"]) == ("WARNING", "retry", "fail")
    assert retried["exception"].endswith("ValueError: no")
    assert "Traceback" not in retried["msg"]
    (gone,) = of(pod, "reliq.worker", f"{buried} failed and is buried")
    assert (gone["level"], gone["outcome"]) == ("ERROR", "bury")


def test_a_death_says_whose_it_was(fleet: Fleet) -> None:
    pod = fleet.start(options=["--log-format", "json"])
    (identity,) = pod.identities()
    jid = fleet.enqueue("gated", "door")
    fleet.started(jid)
    pod.kill_worker()
    fleet.open("door")
    fleet.done([jid])
    (died,) = of(pod, "reliq.supervisor", "was killed by SIGKILL")
    assert (died["dead"], died["cause"]) == (identity, "was killed by SIGKILL")
    (back,) = of(pod, "reliq.reaper", "recovered 1 jobs")
    assert (back["dead"], back["jobs"]) == (identity, 1)
    assert pod.stop_and_wait() == 0


def test_text_has_the_id_of_the_job(fleet: Fleet) -> None:
    pod = fleet.start()
    jid = fleet.enqueue("says", "hello")
    fleet.done([jid])
    assert re.search(rf"^\S+ \S+ \d+ WARNING tests\.support\.jobs {jid}: hello$", pod.log, re.MULTILINE)
    others = [line for line in pod.log.splitlines() if "reliq." in line.split(": ")[0]]
    assert others
    assert not any(JID.search(line.split(": ")[0]) for line in others)
    assert pod.stop_and_wait() == 0


@pytest.mark.parametrize("level", ["WARNING", "ERROR"])
def test_a_good_day_is_silent(fleet: Fleet, level: str) -> None:
    """From the start through work and quiet to the stop."""
    pod = fleet.start(processes=2, options=["--log-level", level])
    fleet.done([fleet.enqueue("quick", number) for number in range(20)])
    assert fleet.command("quiet", "--pidfile", str(pod.pidfile), "--wait", "10").code == 0
    assert pod.stop_and_wait() == 0
    assert pod.log == ""


def test_an_outage_is_one_line_of_the_supervisor(fresh_server: FreshServer, fleet_on: FleetOn) -> None:
    """However many duties it has: the heartbeat speaks for all."""
    server = fresh_server(durable=True)
    fleet = fleet_on(server.url)
    pod = fleet.start(options=["--log-format", "json"])
    server.kill()
    eventually(
        lambda: {line["pid"] for line in lines(pod) if "no answer" in line["msg"]} == {pod.pid, *pod.workers()}, 15
    )
    server.start()
    eventually(lambda: len({line["pid"] for line in lines(pod) if "answers again" in line["msg"]}) == 2, 15)
    assert pod.stop_and_wait() == 0
    said = [line for line in lines(pod) if line["pid"] == pod.pid]
    warned = [line["msg"] for line in said if line["level"] == "WARNING"]
    assert all(text.startswith("heartbeat: no answer from Redis") for text in warned)
    assert len(warned) == 1
