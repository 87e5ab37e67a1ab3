"""All processes of a pod die at once, or only its supervisor: what other pods, and the children, do about it."""

from chaos.eventually import eventually
from chaos.servers import Server
from tests.server.conftest import FleetOn
from tests.support.fleet import CONFIRM, FAST, TTL, Fleet
from tests.support.ledger import now
from tests.support.pod import Pod

LOOKS = 1.0
"""Seconds within which reapers look for what is overdue, and a busy machine gets round to it."""


def run_on(fleet: Fleet, pod: Pod, name: str, *args: object) -> str:
    """Enqueue a job while no other pod takes it, and wait until it runs there; its jid."""
    jid = fleet.enqueue(name, *args)
    fleet.started(jid)
    assert fleet.ledger.started(jid)[-1].pid in pod.workers()
    return jid


def let_others_watch(fleet: Fleet, pod: Pod) -> None:
    """Wait until the reapers that are there now have seen a few beats of this pod: who has just come knows nothing."""
    before = {identity: fleet.beats(identity) for identity in pod.identities()}
    eventually(lambda: all(fleet.beats(identity) > count + 2 for identity, count in before.items()))


def test_another_pod_recovers_by_the_shortcut(fleet: Fleet) -> None:
    recoveries = []
    pod = fleet.start(processes=2, concurrency=1)
    for turn in range(3):
        jids = [run_on(fleet, pod, "gated", f"end{turn}") for _ in range(2)]
        heir = fleet.start(processes=2, concurrency=1)
        let_others_watch(fleet, pod)
        pod.kill()
        killed = now()
        for jid in jids:
            fleet.started(jid, times=2)
        fleet.open(f"end{turn}")
        fleet.done(jids)
        for jid in jids:
            first, second = fleet.ledger.started(jid)
            assert second.pid in heir.workers()
            assert second.pid != first.pid
            recoveries.append(second.at - killed)
        pod = heir
    print(f"recovered after {', '.join(f'{one:.2f} s' for one in recoveries)}")  # noqa: T201 - shown when it fails
    assert max(recoveries) < 2 * FAST["beat"] + LOOKS
    assert max(recoveries) < TTL + CONFIRM, "the shortcut is shorter"
    assert "its connections are gone" in fleet.logs()
    fleet.drained()
    assert fleet.stat("processed") == 6


def test_where_client_is_refused_another_pod_recovers_by_the_ttl(server: Server, fleet_on: FleetOn) -> None:
    with server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "limited", "reset", "on", ">secret", "~*", "&*", "+@all", "-client")
        try:
            fleet = fleet_on(server.url)
            url = f"unix://limited:secret@{server.socket}"
            pod = fleet.start(processes=2, concurrency=1, url=url)
            jids = [run_on(fleet, pod, "gated", "never") for _ in range(2)]
            heir = fleet.start(processes=2, concurrency=1, url=url)
            pod.kill()
            killed = now()
            for jid in jids:
                fleet.started(jid, times=2)
            recoveries = [fleet.ledger.started(jid)[1].at - killed for jid in jids]
            print(f"recovered after {', '.join(f'{one:.2f} s' for one in recoveries)}")  # noqa: T201
            assert max(recoveries) < TTL + CONFIRM + 1
            assert heir.logged("no heartbeat")
            assert not heir.logged("its connections are gone")
            assert {event.pid for jid in jids for event in fleet.ledger.started(jid)[1:]} <= set(heir.workers())
            assert fleet.client.hlen("crashes") == 2, "what ran is known from IDENTITY:work"
            heir.kill()
        finally:
            admin.execute_command("ACL", "DELUSER", "limited")


def test_children_whose_supervisor_is_killed_finish_their_jobs_and_leave(fleet: Fleet) -> None:
    """Longer than TTL + confirm: they beat for themselves, or another pod would run their jobs a second time."""
    pod = fleet.start(processes=2, concurrency=1)
    jids = [run_on(fleet, pod, "slow", TTL + CONFIRM + 0.5, n) for n in range(2)]
    identities = pod.identities()
    other = fleet.start()
    pod.kill_supervisor()
    eventually(lambda: pod.log.count("the supervisor is gone") == 2)
    later = [fleet.enqueue("quick", n) for n in range(4)]
    fleet.done(later)
    assert {event.pid for jid in later for event in fleet.ledger.started(jid)} <= set(other.workers())
    fleet.done(jids)
    eventually(lambda: not pod.members(), 5, "the children have left")
    fleet.drained()
    assert fleet.ledger.repeated() == {}
    assert fleet.stat("processed") == 6
    assert [fleet.heartbeat(identity) for identity in identities] == [b"fenced"] * 2, "they left, they did not vanish"
    assert fleet.client.hlen("crashes") == 0


def test_an_idle_child_whose_supervisor_is_killed_strands_nothing(fleet: Fleet) -> None:
    """Jobs that its doorbell takes at the last moment go back."""
    pod = fleet.start(processes=2)
    pod.kill_supervisor()
    jids = [fleet.enqueue("quick", n) for n in range(20)]
    eventually(lambda: not pod.members(), 5, "the children have left")
    fleet.start()
    fleet.done(jids)
    fleet.drained()
    assert fleet.ledger.repeated() == {}


def test_the_last_pod_dies_and_the_next_one_recovers(fleet: Fleet) -> None:
    """Nobody was there to see it; the newcomer finds everything in Redis."""
    pod = fleet.start(concurrency=2)
    jids = [run_on(fleet, pod, "gated", "end") for _ in range(2)]
    pod.kill()
    fleet.open("end")
    waiting = fleet.enqueue("quick")
    fleet.start(concurrency=2)
    fleet.done([*jids, waiting])
    fleet.drained()
    assert [len(fleet.ledger.started(jid)) for jid in jids] == [2, 2]


def test_reliq_reaper_alone_brings_jobs_back(fleet: Fleet) -> None:
    pod = fleet.start(concurrency=2)
    jids = [run_on(fleet, pod, "gated", "never") for _ in range(2)]
    reapers = [fleet.begin("reaper", "--url", fleet.url) for _ in range(2)]
    try:
        pod.kill()
        eventually(lambda: fleet.jids("queue:default")[::-1] == jids, 10, "the jobs are back in their order")
        assert fleet.held() == 0
    finally:
        for reaper in reapers:
            reaper.terminate()
            reaper.communicate(timeout=10)
    assert [reaper.returncode for reaper in reapers] == [0, 0]
