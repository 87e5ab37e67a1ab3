"""Redis goes away in every way that it can, under load, with real pods. Nothing acknowledged is lost, nobody is taken
for dead, no job runs twice. (Promises 1, 4, 9 and 10; docs/counterexamples.md 1 to 4, 7)
"""

from collections.abc import Callable

import pytest
import redis

from chaos.eventually import eventually
from chaos.servers import Server
from reliq.errors import Refused
from tests.conftest import FreshServer
from tests.server.conftest import FleetOn
from tests.server.outage.load import Load, dice, nobody_dies, pass_time
from tests.support.fleet import CONFIRM, TTL, Fleet

LONG = TTL + CONFIRM + 0.5
"""Seconds after which one who cannot beat would be dead."""


def two_pods(fleet: Fleet) -> None:
    fleet.start(wait=False)
    fleet.start(wait=False)
    for pod in fleet.pods:
        pod.ready()


def hold_jobs(load: Load, seconds: float) -> None:
    """Jobs that run all through the trouble, in both pods."""
    for number in range(4):
        load.send(f"long-{number}", "slow", seconds)
    load.fleet.started(load.acknowledged["long-3"])


@pytest.mark.slow
@pytest.mark.parametrize("down", [0.0, LONG], ids=["within the TTL", "longer than TTL and confirm"])
def test_redis_is_killed_and_restarted_under_load(down: float, fresh_server: FreshServer, fleet_on: FleetOn) -> None:
    """SIGKILL, append-only file with fsync always: three short outages, or a long one."""
    server = fresh_server(durable=True)
    fleet = fleet_on(server.url)
    two_pods(fleet)
    random = dice()
    with nobody_dies(fleet), Load(fleet) as load:
        hold_jobs(load, LONG + 1.5)
        for _ in range(1 if down else 3):
            load.more(random.randrange(20, 120))
            server.kill()
            pass_time(down)
            server.start()
        load.more(50)
        load.settle()


@pytest.mark.slow
def test_redis_is_frozen_for_longer_than_anybody_lives(fresh_server: FreshServer, fleet_on: FleetOn) -> None:
    """SIGSTOP past TTL and confirm, then SIGCONT: what lay in its sockets is applied now, after its senders gave up."""
    server = fresh_server()
    fleet = fleet_on(server.url)
    two_pods(fleet)
    with nobody_dies(fleet), Load(fleet) as load:
        hold_jobs(load, LONG + 1.5)
        load.more(50)
        server.pause()
        pass_time(LONG)
        server.resume()
        load.more(50)
        load.settle()


@pytest.mark.slow
def test_redis_freezes_again_and_again(fresh_server: FreshServer, fleet_on: FleetOn) -> None:
    """Outages of all lengths around beat, time-outs and TTL, with little time between them. (Case 2)"""
    server = fresh_server()
    fleet = fleet_on(server.url)
    two_pods(fleet)
    random = dice()
    with nobody_dies(fleet), Load(fleet) as load:
        hold_jobs(load, 6.0)
        for _ in range(5):
            load.more(random.randrange(1, 40), within=20.0)
            server.pause()
            pass_time(random.choice((0.1, 0.3, 0.6, 1.1, 1.4)))
            server.resume()
        load.more(50)
        load.settle()


def flush_scripts(client: redis.Redis) -> None:
    client.script_flush()


def kill_clients(client: redis.Redis) -> None:
    client.client_kill_filter(_type="normal", skipme=True)


def kill_and_flush(client: redis.Redis) -> None:
    flush_scripts(client)
    kill_clients(client)


@pytest.mark.parametrize("trouble", [flush_scripts, kill_clients, kill_and_flush])
def test_connections_and_scripts_are_taken_away_in_mid_run(
    trouble: Callable[[redis.Redis], None], fresh_server: FreshServer, fleet_on: FleetOn
) -> None:
    """SCRIPT FLUSH, CLIENT KILL TYPE normal, and both at once, thirty times."""
    server = fresh_server()
    fleet = fleet_on(server.url)
    two_pods(fleet)
    random = dice()
    with server.client() as client, nobody_dies(fleet), Load(fleet) as load:
        hold_jobs(load, 2.0)
        for _ in range(30):
            load.more(random.randrange(1, 15))
            trouble(client)
        load.more(20)
        load.settle()


@pytest.mark.slow
def test_redis_is_read_only_for_a_while(fresh_server: FreshServer, fleet_on: FleetOn) -> None:
    """As in a fail-over: everybody is refused with READONLY, past TTL and confirm; then it is a primary again."""
    server = fresh_server()
    fleet = fleet_on(server.url)
    two_pods(fleet)
    with server.client() as client, nobody_dies(fleet), Load(fleet) as load:
        hold_jobs(load, LONG + 1.5)
        load.more(50)
        client.replicaof("127.0.0.1", "1")
        pass_time(LONG)
        client.replicaof("NO", "ONE")
        load.more(50)
        load.settle()
    assert not load.refused, "producers are patient, too"


@pytest.mark.slow
def test_a_full_redis_is_drained(fresh_server: FreshServer, fleet_on: FleetOn) -> None:
    """Past TTL and confirm at maxmemory (noeviction): enqueue is refused with a clear error, the rest goes on."""
    server = fresh_server(settings={"maxmemory-policy": "noeviction"})
    fleet = fleet_on(server.url)
    two_pods(fleet)
    load = Load(fleet, producers=0)
    with nobody_dies(fleet), load:
        for number in range(300):
            load.send(f"slow-{number}", "slow", 0.05)
        _fill(server)
        load.send("too much")
        assert load.refused == ["too much"]
        with pytest.raises(Refused, match=r"Redis is full \(maxmemory\)"):
            fleet.enqueue("quick", "too much")
        assert fleet.held() + len(fleet.jids("queue:default")) > 100, "it was full while most jobs still waited"
        fleet.done(list(load.acknowledged.values()), within=20.0)
        pass_time(LONG)
        assert fleet.client.hlen("suspects") == 0
        server.config(maxmemory=0)
        load.send("after")
        load.settle()


def _fill(server: Server) -> None:
    server.config(maxmemory=1)
    with server.client() as client, pytest.raises(redis.ResponseError):
        client.set("scratch:more", "x")


@pytest.mark.slow
def test_a_worker_that_starts_during_an_outage_waits_for_its_end(fresh_server: FreshServer, fleet_on: FleetOn) -> None:
    """Refused connections, then a full server, then room: it says so, goes on trying, and works."""
    server = fresh_server(durable=True)
    fleet = fleet_on(server.url)
    jids = [fleet.enqueue("quick", number) for number in range(20)]
    server.kill()
    pod = fleet.start(wait=False)
    eventually(lambda: pod.logged("no answer from Redis"), 15.0, "it says what is wrong")
    server.start()
    _fill(server)
    fleet.done(jids, within=15.0)
    server.config(maxmemory=0)
    assert not fleet.ledger.repeated()
    assert pod.stop_and_wait() == 0
    fleet.drained()
