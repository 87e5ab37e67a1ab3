"""The equipment itself: what a pod is made of, and that killing, freezing and stopping it do what they say."""

import psutil

from chaos.eventually import eventually
from tests.support.fleet import Fleet
from tests.support.leaks import alive


def test_a_pod_starts_is_seen_and_stops(fleet: Fleet) -> None:
    pod = fleet.start(processes=2)
    assert len(pod.workers()) == len(pod.identities()) == 2
    assert len(pod.members()) == 5, "supervisor, fork server, resource tracker and two workers"
    jids = [fleet.enqueue("quick", n) for n in range(20)]
    fleet.done(jids)
    fleet.drained()
    assert [event.what for event in fleet.ledger.events(jid=jids[0])] == ["start", "finish"]
    assert fleet.stat("processed") == 20
    assert pod.stop_and_wait() == 0
    eventually(lambda: not pod.members())
    assert fleet.problems() == []


def test_a_pod_freezes_thaws_and_dies_as_a_whole(fleet: Fleet) -> None:
    pod = fleet.start(processes=2)
    members = pod.members()
    pod.freeze()
    eventually(lambda: {psutil.Process(pid).status() for pid in members} == {psutil.STATUS_STOPPED})
    pod.thaw()
    eventually(lambda: psutil.STATUS_STOPPED not in {psutil.Process(pid).status() for pid in members})
    pod.kill()
    assert not any(alive(pid) for pid in members)
