"""`reliq doctor` beside a fleet at work."""

from functools import partial

import pytest
import redis

from chaos.eventually import eventually
from tests.conftest import FreshServer
from tests.server.conftest import FleetOn

WELL = {"maxmemory": "500mb"}


def test_a_fleet_at_work_gives_no_reason_to_complain(fresh_server: FreshServer, fleet_on: FleetOn) -> None:
    server = fresh_server(durable=True, settings=WELL)
    fleet = fleet_on(server.url)
    pods = [fleet.start(processes=2), fleet.start(queues=("default", "mail"))]
    jids = [fleet.enqueue("slow", 0.05, number) for number in range(100)]
    result = fleet.command("doctor", "--url", server.url, "--strict", "--grace-period", "60")
    assert result.code == 0, result.output
    assert "3 processes beat in time" in result.output
    assert result.output.endswith("\n20 ok\n")
    fleet.done(jids)
    assert [pod.stop_and_wait() for pod in pods] == [0, 0]


USUAL = {"RELIQ_TTL": "10", "RELIQ_COMMAND_TIMEOUT": "3", "RELIQ_CONNECT_TIMEOUT": "2"}
"""The times of a worker's connections that are not given by anybody."""


@pytest.mark.parametrize(("timeout", "name"), [("1", "idle-timeout"), ("4", "long-idle-timeout")])
def test_connections_that_are_cut_while_they_rest(
    fresh_server: FreshServer, fleet_on: FleetOn, timeout: str, name: str
) -> None:
    """What the doctor says of them: a short time costs warnings, a longer one not even that; and none costs a job."""
    server = fresh_server(durable=True, settings=WELL | {"timeout": timeout})
    fleet = fleet_on(server.url)
    fleet.settings.clear()
    assert f'"{name}"' in fleet.command("doctor", "--url", server.url, "--json", "--check", "timeouts").output
    pod = fleet.start(environment=USUAL)
    jids = [fleet.enqueue("quick", "first")]
    fleet.done(jids)
    with server.client() as client:
        others = {entry["id"] for entry in client.client_list()}
        eventually(partial(some_are_gone, client, others), 15, "a connection that rests is cut")
    if name == "idle-timeout":
        eventually(lambda: pod.logged("no answer from Redis"), 15, "that for turns as well")
    jids.append(fleet.enqueue("quick", "last"))
    fleet.done(jids)
    assert all(len(fleet.ledger.started(jid)) == 1 for jid in jids)
    assert pod.logged("no answer from Redis") == (name == "idle-timeout")
    assert pod.stop_and_wait() == 0


def some_are_gone(client: redis.Redis, ids: set[str]) -> bool:
    """Whether the server has closed one of these connections."""
    return not ids <= {entry["id"] for entry in client.client_list()}
