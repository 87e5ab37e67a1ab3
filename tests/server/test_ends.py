"""The ends of a job: done, failed and tried again, buried, forgotten. Whatever a job does, its process lives on."""

import time
from functools import partial

import orjson
import pytest

from chaos.eventually import eventually
from tests.support.fleet import Fleet

BROKEN = [
    b"",
    b"not json",
    b"\xff\xfe\x00",
    b"null",
    b"[]",
    b'"text"',
    b"{}",
    b'{"class":"quick"',
    b"[" * 100_000,
    b'{"class":"quick","args":{"a":1},"jid":"aaaaaaaaaaaaaaaaaaaaaaaa"}',
    b'{"class":["quick"],"args":[],"jid":"bbbbbbbbbbbbbbbbbbbbbbbb"}',
    b'{"class":"quick","args":[1],"kwargs":[1],"jid":"cccccccccccccccccccccccc"}',
    b'{"class":"quick","args":[1,2,3,4,5],"jid":"dddddddddddddddddddddddd"}',
    b'{"class":"quick","args":[],"kwargs":{"colour":1},"jid":"eeeeeeeeeeeeeeeeeeeeeeee"}',
]
READABLE = [
    b'{"class":"quick","args":["empty"],"jid":""}',
    b'{"class":"quick","args":["number"],"jid":7}',
    b'{"class":"quick","args":["no jid"]}',
    b'{"class":"quick","args":["odd retry"],"jid":"111111111111111111111111","retry":"often"}',
    b' {"class":"quick","args":["white"],"jid":"222222222222222222222222","enqueued_at":1700000000000} \n',
    b'{"class":"quick","args":["twice"],"jid":"333333333333333333333333","jid":"333333333333333333333333"}',
]
"""What other programs may send: reliq runs it or buries it, but never loses it."""

KINDS = ["SystemExit", "KeyboardInterrupt", "BaseException", "GeneratorExit", "MemoryError", "Group", "CancelledError"]
ODD = ["Mute", "Huge", "Surrogate"]


# -- failures


def test_a_failure_is_retried_with_sidekiqs_fields_and_then_buried(fleet: Fleet) -> None:
    fleet.start()
    began = time.time()
    jid = fleet.enqueue("fail", "out of stock", retry=2)
    eventually(lambda: fleet.jids("retry") == [jid])
    [(member, due)] = fleet.scores("retry")
    assert 15 <= due - began <= 15 + 10 + 2, "the first of Sidekiq's delays"
    first = orjson.loads(member)
    assert (first["class"], first["args"], first["retry"]) == ("fail", ["out of stock"], 2)
    assert (first["error_class"], first["error_message"]) == ("ValueError", "out of stock")
    assert first["retry_count"] == 0
    assert began <= first["failed_at"] <= time.time()
    assert "retried_at" not in first

    fleet.make_due()
    eventually(lambda: [payload["retry_count"] for payload in fleet.payloads("retry")] == [1])
    [second] = fleet.payloads("retry")
    assert second["failed_at"] == first["failed_at"]
    assert first["failed_at"] < second["retried_at"] <= time.time()
    # From the moment of the failure, not from now; two clock readings of ten digits differ in the seventh decimal.
    assert 16 <= round(fleet.scores("retry")[0][1] - second["retried_at"], 3) <= 16 + 20

    fleet.make_due()
    eventually(lambda: fleet.jids("dead") == [jid])
    assert fleet.client.zcard("retry") == 0
    [last] = fleet.payloads("dead")
    assert (last["args"], last["created_at"]) == (first["args"], first["created_at"])
    assert [run.attempt for run in fleet.ledger.started(jid)] == [1, 2, 3]
    assert (fleet.stat("processed"), fleet.stat("failed")) == (3, 3)
    fleet.drained()


def test_a_retry_that_succeeds_leaves_nothing_behind(fleet: Fleet) -> None:
    fleet.start()
    jid = fleet.enqueue("fail_times", 1)
    eventually(lambda: fleet.jids("retry") == [jid])
    fleet.make_due()
    fleet.done([jid])
    fleet.drained()
    assert fleet.client.exists("retry", "dead", "crashes") == 0
    assert (fleet.stat("processed"), fleet.stat("failed")) == (2, 1)


def test_without_retries_it_is_buried_or_forgotten(fleet: Fleet) -> None:
    fleet.start()
    buried = [fleet.enqueue("once", retry=0), fleet.enqueue("fail", retry=0)]
    forgotten = [fleet.enqueue("never_again", retry=False), fleet.enqueue("fail", retry=False)]
    eventually(lambda: fleet.stat("failed") == 4)
    fleet.drained()
    assert sorted(fleet.jids("dead")) == sorted(buried)
    assert fleet.client.zcard("retry") == 0
    assert all(len(fleet.ledger.started(jid)) == 1 for jid in buried + forgotten)


def test_what_a_definition_says_of_retries_counts_for_jobs_enqueued_by_name(fleet: Fleet) -> None:
    """A foreign client that says nothing of retries leaves it to the function's definition."""
    fleet.start()
    fleet.push(b'{"class":"once","args":[],"jid":"aaaaaaaaaaaaaaaaaaaaaaaa"}')
    fleet.push(b'{"class":"never_again","args":[],"jid":"bbbbbbbbbbbbbbbbbbbbbbbb"}')
    eventually(lambda: fleet.stat("failed") == 2)
    assert fleet.jids("dead") == ["a" * 24]
    assert fleet.client.zcard("retry") == 0


@pytest.mark.parametrize("name", ["raises", "async_raises"])
def test_whatever_a_job_raises_is_a_failure_and_its_process_lives_on(fleet: Fleet, name: str) -> None:
    pod = fleet.start(concurrency=1)  # one thread: what a job does to it, the next one feels
    before = pod.workers()
    jids = {fleet.enqueue(name, kind, kind): kind for kind in [*KINDS, *ODD]}
    last = [fleet.enqueue("patient", 0.01), fleet.enqueue("quick")]
    fleet.done(last)
    fleet.drained()
    failed = {payload["jid"]: payload for payload in fleet.payloads("retry")}
    assert set(failed) == set(jids)
    classes = {jids[jid]: payload["error_class"] for jid, payload in failed.items()}
    assert {kind: classes[kind] for kind in KINDS if kind != "Group"} == {
        kind: kind for kind in KINDS if kind != "Group"
    }
    assert classes["Group"] == "BaseExceptionGroup"
    assert classes["Mute"] == "Mute"
    messages = {jids[jid]: payload["error_message"] for jid, payload in failed.items()}
    assert messages["Huge"] == "x" * 10_000
    assert messages["Surrogate"].startswith("lone ")
    assert "failed" in messages["Mute"]
    assert pod.workers() == before
    assert fleet.client.hlen("crashes") == 0


# -- time-outs


@pytest.mark.parametrize("name", ["Timed", "async_timed"])
def test_a_job_that_takes_too_long_fails(fleet: Fleet, name: str) -> None:
    fleet.start()
    jid = fleet.enqueue(name, 60)
    fine = fleet.enqueue(name, 0.01)
    eventually(lambda: fleet.jids("retry") == [jid], 5)
    [payload] = fleet.payloads("retry")
    assert payload["error_class"] == "JobTimeout"
    assert "0.3 s" in payload["error_message"]
    fleet.done([fine])
    fleet.drained()


def test_a_time_out_that_meets_the_end_of_its_job_breaks_nothing(fleet: Fleet) -> None:
    """The exception may come when the job has just ended: it hits no other job, and no thread of reliq."""
    pod = fleet.start(concurrency=16)
    before = pod.workers()
    jids = [fleet.enqueue("Timed", 0.28 + 0.0005 * (n % 60), n) for n in range(160)]
    innocent = [fleet.enqueue("slow", 0.02, n) for n in range(40)]
    fleet.done(innocent, 20)
    fleet.drained(within=20)
    finished = {event.jid for event in fleet.ledger.events("finish", name="Timed")}
    late = set(fleet.jids("retry"))
    assert late | finished >= set(jids)
    assert fleet.stat("processed") == len(jids) + len(innocent)
    assert fleet.stat("failed") == len(late)
    assert fleet.ledger.repeated() == {}
    assert pod.workers() == before
    # Every slot is still there.
    together = [fleet.enqueue("gated", "end", n) for n in range(16)]
    for jid in together:
        fleet.started(jid)
    fleet.open("end")
    fleet.done(together)


# -- what cannot be run


def test_an_unknown_job_waits_for_a_worker_that_knows_it(fleet: Fleet) -> None:
    old = fleet.start(app="tests.support.jobs:bare")
    jid = fleet.enqueue("quick")
    eventually(lambda: fleet.jids("retry") == [jid])
    [payload] = fleet.payloads("retry")
    assert payload["error_class"] == "UnknownJob"
    assert "'quick'" in payload["error_message"]
    assert old.stop_and_wait() == 0
    fleet.start()
    fleet.make_due()
    fleet.done([jid])
    fleet.drained()


def tried(fleet: Fleet, count: int) -> bool:
    """Whether all that waits to be tried again has been so often."""
    return {one["retry_count"] for one in fleet.payloads("retry")} == {count}


def test_an_unknown_job_is_buried_in_the_end(fleet: Fleet) -> None:
    fleet.start()
    jid = fleet.enqueue("nobody", retry=False)
    for count in range(10):
        eventually(partial(tried, fleet, count))
        fleet.make_due()
    eventually(lambda: fleet.jids("dead") == [jid])
    assert fleet.payloads("dead")[0]["error_class"] == "UnknownJob"
    assert fleet.client.zcard("retry") == 0


def test_what_cannot_be_read_is_buried_with_the_reason(fleet: Fleet) -> None:
    pod = fleet.start(concurrency=2)
    before = pod.workers()
    for payload in BROKEN:
        fleet.push(payload)
    eventually(lambda: fleet.client.zcard("dead") == len(BROKEN), 10, "all are buried")
    fleet.drained()
    dead = fleet.members("dead")
    for payload in BROKEN:
        kept = [one for one in dead if one == payload or one.startswith(payload[:-1])]
        assert kept, f"{payload[:80]!r} is not in the dead set"
    reasons = [orjson.loads(one).get("error_message") for one in dead if one.startswith(b"{") and one.endswith(b"}")]
    assert all(reasons), "what is an object carries its reason"
    assert pod.log.count("is buried") == len(BROKEN), "and the log has a line for each"
    assert pod.workers() == before
    assert fleet.ledger.events() == []
    assert fleet.stat("failed") == len(BROKEN)
    jid = fleet.enqueue("quick")
    fleet.done([jid])


def test_what_other_programs_send_runs_or_is_buried(fleet: Fleet) -> None:
    fleet.start()
    for payload in READABLE:
        fleet.push(payload)
    eventually(lambda: fleet.client.zcard("dead") + len(fleet.ledger.events("finish")) == len(READABLE))
    fleet.drained()
    assert {event.key for event in fleet.ledger.events("finish")} >= {"white", "twice"}
