"""A worker starts while Redis cannot be had, or not in that way."""

import pytest

from chaos.eventually import eventually
from tests.conftest import FreshServer
from tests.server.conftest import FleetOn

UNREACHABLE = 69
"""EX_UNAVAILABLE."""


def test_it_says_so_keeps_trying_and_works_once_redis_is_there(fresh_server: FreshServer, fleet_on: FleetOn) -> None:
    server = fresh_server()
    server.stop()
    fleet = fleet_on(server.url)
    pod = fleet.start(processes=2, wait=False)
    eventually(lambda: pod.log.count("no answer from Redis") >= 2, 15)
    assert f"no answer from Redis at {server.url}" in pod.log
    eventually(lambda: len(pod.workers()) == 2)
    workers = pod.workers()
    server.start()
    pod.ready()
    assert pod.workers() == workers, "nobody had to die for it"
    jid = fleet.enqueue("quick")
    fleet.done([jid])
    assert pod.log.count("no answer from Redis") < 20, "it does not fill the log"
    assert pod.stop_and_wait() == 0


def test_it_can_be_stopped_while_it_waits(fresh_server: FreshServer, fleet_on: FleetOn) -> None:
    server = fresh_server()
    server.stop()
    pod = fleet_on(server.url).start(wait=False)
    eventually(lambda: pod.logged("no answer from Redis"), 15)
    assert pod.stop_and_wait(5) == 0


def test_it_exits_if_it_was_told_to(fresh_server: FreshServer, fleet_on: FleetOn) -> None:
    server = fresh_server()
    server.stop()
    pod = fleet_on(server.url).start(wait=False, processes=2, options=["--exit-on-unreachable"])
    assert pod.wait(15) == UNREACHABLE
    assert pod.log.splitlines()[-1].startswith(f"reliq: no answer from Redis at {server.url}")
    assert pod.members() == [] or eventually(lambda: not pod.members())


def test_an_outage_later_is_no_reason_to_exit(fresh_server: FreshServer, fleet_on: FleetOn) -> None:
    server = fresh_server(durable=True)
    fleet = fleet_on(server.url)
    pod = fleet.start(options=["--exit-on-unreachable"])
    server.kill()
    eventually(lambda: pod.logged("no answer from Redis"))
    server.start()
    jid = fleet.enqueue("quick")
    fleet.done([jid])
    assert pod.running()


@pytest.mark.parametrize("right", [False, True])
def test_a_password(fresh_server: FreshServer, fleet_on: FleetOn, right: bool) -> None:
    server = fresh_server(tcp=True, settings={"requirepass": "secret"})
    word = "secret" if right else "wrong"
    fleet = fleet_on(f"redis://:{word}@127.0.0.1:{server.port}/0")
    pod = fleet.start(wait=right)
    if right:
        fleet.done([fleet.enqueue("quick")])
    else:
        eventually(lambda: pod.logged("refused the user or password"), 15)
        assert "no answer" not in pod.log
    assert "secret" not in pod.log
    assert "wrong" not in pod.log
