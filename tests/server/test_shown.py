"""What a running worker shows in Redis, as Sidekiq's own view reads it; and the signals that the view leaves."""

import orjson
import pytest

from chaos.eventually import eventually
from tests.support.fleet import Fleet


def test_the_view_shows_processes_their_work_and_counters(fleet: Fleet) -> None:
    pod = fleet.start(processes=2, concurrency=3, queues=("high,3", "default,1"))
    jid = fleet.enqueue("gated", "end")
    fleet.started(jid)
    [run] = fleet.ledger.started(jid)
    identities = pod.identities()
    eventually(lambda: fleet.client.smembers("processes") == {identity.encode() for identity in identities})

    shown = fleet.shown(run.identity)
    assert set(shown) == {"info", "concurrency", "busy", "beat", "quiet", "rss", "rtt_us"}
    info = orjson.loads(shown["info"])
    assert (info["identity"], info["pid"], info["concurrency"]) == (run.identity, run.pid, 3)
    assert info["queues"] == ["high", "default"]
    assert info["weights"] == [{"high": 3, "default": 1}]
    assert info["hostname"] == run.identity.split(":")[0]
    assert shown["quiet"] == b"false"
    assert int(shown["rss"]) > 1000, "KiB"
    assert int(shown["rtt_us"]) > 0
    assert 0 < fleet.client.ttl(run.identity) <= 60

    eventually(lambda: fleet.client.hlen(f"{run.identity}:work") == 1)
    [(thread, raw)] = fleet.client.hgetall(f"{run.identity}:work").items()
    work = orjson.loads(raw)
    assert int(thread, 16) > 0
    assert work["queue"] == "default"
    assert isinstance(work["run_at"], int)
    assert orjson.loads(work["payload"])["jid"] == jid, "the payload is a string of JSON, as Sidekiq has it since 7"
    assert 0 < fleet.client.ttl(f"{run.identity}:work") <= 60
    # The view is refreshed every few seconds; `busy` is what the process itself last said.
    eventually(lambda: fleet.client.hget(run.identity, "busy") == b"1", 6)

    fleet.open("end")
    fleet.done([jid])
    eventually(lambda: fleet.client.hlen(f"{run.identity}:work") == 0)
    assert fleet.stat("processed") == 1
    days = list(fleet.client.scan_iter("stat:processed:*"))
    assert [fleet.client.get(day) for day in days] == [b"1"]
    assert pod.stop_and_wait() == 0
    assert fleet.client.exists("processes", *identities, *(f"{identity}:work" for identity in identities)) == 0


def test_signals_left_by_the_view_reach_the_one_process(fleet: Fleet) -> None:
    pod = fleet.start(processes=2, concurrency=1)
    first, second = pod.identities()
    pids = {identity: entry["pid"] for identity, entry in fleet.entries().items()}
    fleet.client.lpush(f"{first}-signals", "TSTP")
    fleet.client.expire(f"{first}-signals", 60)
    fleet.client.lpush(f"{second}-signals", "TERM")
    fleet.client.expire(f"{second}-signals", 60)
    eventually(lambda: pids[second] not in pod.workers(), 8, "the one that was told to has ended")
    eventually(lambda: fleet.client.exists(f"{first}-signals") == 0, 8)
    jids = [fleet.enqueue("quick", n) for n in range(3)]
    eventually(lambda: fleet.client.hget(first, "quiet") == b"true", 8, "it is shown as quiet")
    assert pids[first] in pod.workers()
    assert fleet.jids("queue:default")[::-1] == jids, "one is quiet and the other is gone"
    assert fleet.client.hlen("crashes") == 0


@pytest.mark.parametrize("how", ["worker", "pod"])
def test_the_dead_vanish_from_the_view(fleet: Fleet, how: str) -> None:
    pod = fleet.start()
    [identity] = pod.identities()
    eventually(lambda: fleet.client.sismember("processes", identity))
    if how == "worker":
        pod.kill_worker()
    else:
        fleet.start()
        pod.kill()
    eventually(lambda: not fleet.client.sismember("processes", identity), 6)
    assert fleet.client.exists(identity, f"{identity}:work") == 0
