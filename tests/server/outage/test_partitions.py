"""One pod is cut off from Redis while the others are not. (Promises 2, 4 and 8; docs/counterexamples.md 7, 10, 11)

It is taken for dead, its jobs run elsewhere; it comes back under a new identity and never settles for the old one.
"""

from collections import Counter

import pytest

from chaos.eventually import eventually
from chaos.proxy import Proxy
from chaos.servers import Server
from tests.conftest import FreshServer
from tests.server.conftest import FleetOn
from tests.server.outage.load import Load, dice, nobody_dies, pass_time
from tests.support.fleet import CONFIRM, TTL

DEAD = TTL + CONFIRM + 2.0
"""Seconds within which the death of one who is silent must have been found by others who are there."""


def _cut(proxy: Proxy) -> None:
    proxy.refuse()
    proxy.cut()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["refused", "silent"])
def test_a_pod_that_is_cut_off_is_dead_and_comes_back_as_another(
    how: str, server: Server, proxy: Proxy, fleet_on: FleetOn
) -> None:
    """Connections end and new ones are refused, or nothing flows and nobody is told (then what was on its way arrives
    late). It finishes its jobs meanwhile; that counts for nothing.
    """
    fleet = fleet_on(server.url)
    cut_off = fleet.start(url=proxy.url)
    (old,) = cut_off.identities()
    load = Load(fleet, producers=0)
    for number in range(8):  # twice what it has room for
        load.send(f"job-{number}", "slow", 1.5)
    eventually(lambda: len(fleet.ledger.running()) == 4)
    if how == "refused":
        _cut(proxy)
    else:
        proxy.freeze()
    other = fleet.start()  # only now, so that all that runs runs in the one that is cut off
    eventually(lambda: fleet.heartbeat(old) == b"fenced", DEAD, "it is taken for dead")
    fleet.done(list(load.acknowledged.values()), within=15.0)
    fleet.drained()
    assert fleet.stat("processed") == 8, "one settle for each job, and none by the pod that was dead"
    proxy.accept()
    proxy.thaw()
    eventually(cut_off.identities, 5.0, "it comes back")
    assert cut_off.identities() != [old]
    starts = Counter(event.jid for event in fleet.ledger.events("start"))
    assert sorted(starts.values()) == [1] * 4 + [2] * 4, "only what it ran when it was cut off ran twice"
    assert {event.identity for event in fleet.ledger.events("start")} == {old, *other.identities()}
    other.stop_and_wait()
    again = [fleet.enqueue("quick", f"again-{number}") for number in range(20)]
    fleet.done(again)
    fleet.drained()
    eventually(lambda: fleet.stat("processed") == 28, 5.0)
    assert {event.identity for event in fleet.ledger.events("finish", name="quick")} == set(cut_off.identities())
    assert fleet.heartbeat(old) == b"fenced"
    assert fleet.lists("private:*") == {}


@pytest.mark.slow
def test_a_pod_whose_connections_break_all_the_time_is_not_dead(fresh_server: FreshServer, fleet_on: FleetOn) -> None:
    """Cut, frozen and refused for less than the TTL, at random: same identity, every job once."""
    server = fresh_server()
    with Proxy(server.socket) as proxy:
        fleet = fleet_on(server.url)
        # Two missed beats without a connection are a death; on a busy machine 0.4 s would test that instead.
        fleet.settings.update(beat=0.5, ttl=3.0)
        fleet.start(url=proxy.url)
        fleet.start()
        random = dice()
        with nobody_dies(fleet), Load(fleet) as load:
            for number in range(4):
                load.send(f"long-{number}", "slow", 3.0)
            for _ in range(12):
                load.more(random.randrange(1, 25))
                match random.choice(("cut", "freeze", "refuse")):
                    case "cut":
                        proxy.cut()
                    case "freeze":
                        proxy.freeze()
                        pass_time(random.uniform(0.05, 0.2))
                        proxy.thaw()
                    case _:
                        proxy.refuse()
                        pass_time(random.uniform(0.05, 0.15))
                        proxy.accept()
            load.more(20)
            load.settle()
        for pod in fleet.pods:
            pod.stop()
        for pod in fleet.pods:
            assert pod.wait() == 0
        assert fleet.lists("private:*") == {}
