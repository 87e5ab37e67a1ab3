"""Which job is next: order of queues, weights, polling, pause; and jobs whose time comes."""

import time
from collections import Counter

import orjson
import pytest

from chaos.eventually import eventually
from tests.conftest import FreshServer
from tests.server.conftest import FleetOn
from tests.support.fleet import Fleet
from tests.support.ledger import now

LATE = 0.25
"""Seconds after its time within which a job is in its queue."""

BUSY = 0.15
"""Seconds that a busy machine may take to start it then."""


def order(fleet: Fleet) -> list[str]:
    """The queues of all jobs in the order in which these started."""
    return [event.queue for event in fleet.ledger.events("start")]


def test_one_queue_is_first_in_first_out(fleet: Fleet) -> None:
    jids = [fleet.enqueue("quick", n) for n in range(100)]
    fleet.start(concurrency=1)
    fleet.done(jids)
    assert [event.key for event in fleet.ledger.events("start")] == list(range(100))


def test_strict_order_empties_the_first_queue_first(fleet: Fleet) -> None:
    for n in range(20):
        for queue in ("low", "middle", "high"):
            fleet.enqueue("quick", n, queue=queue)
    fleet.start(concurrency=1, queues=("high", "middle", "low"))
    eventually(lambda: len(fleet.ledger.events("finish")) == 60)
    assert order(fleet) == ["high"] * 20 + ["middle"] * 20 + ["low"] * 20


def test_a_job_of_a_prior_queue_overtakes(fleet: Fleet) -> None:
    fleet.start(concurrency=1, queues=("high", "low"))
    gate = fleet.enqueue("gated", "end", queue="low")
    fleet.started(gate)
    for n in range(10):
        fleet.enqueue("quick", n, queue="low")
    fleet.enqueue("quick", queue="high")
    fleet.open("end")
    eventually(lambda: len(fleet.ledger.events("finish")) == 12)
    # At most what was claimed already may come before it, with one slot one job.
    assert order(fleet).index("high") <= 2


@pytest.mark.parametrize(("weights", "share"), [((3, 1), 0.75), ((1, 1), 0.5)])
def test_weights_share_out_the_slots(fleet: Fleet, weights: tuple[int, int], share: float) -> None:
    for n in range(600):
        fleet.enqueue("quick", n, queue="a")
        fleet.enqueue("quick", n, queue="b")
    fleet.start(concurrency=1, queues=(f"a,{weights[0]}", f"b,{weights[1]}"))
    eventually(lambda: len(fleet.ledger.events("finish")) == 1200, 20)
    first = Counter(order(fleet)[:600])
    # Six standard deviations of 600 draws are 0.12 at the most.
    assert abs(first["a"] / 600 - share) < 0.12
    for queue in "ab":
        keys = [event.key for event in fleet.ledger.events("start") if event.queue == queue]
        assert keys == sorted(keys), "first in, first out within each queue"


def test_more_queues_than_doorbells(fleet: Fleet) -> None:
    """Beyond the fourth a queue is polled: later, but not late."""
    queues = [f"queue{n}" for n in range(7)]
    fleet.start(queues=queues)
    for _ in range(2):
        sent = now()
        jids = [fleet.enqueue("quick", queue=queue) for queue in queues]
        fleet.done(jids)
        latest = max(fleet.ledger.started(jid)[0].at for jid in jids)
        assert latest - sent < 0.25 + 3 * BUSY
    fleet.drained(*queues)


def test_a_paused_queue_rests_and_goes_on(fleet: Fleet) -> None:
    fleet.start(concurrency=1, queues=("default", "other"))
    # While the only slot is taken no doorbell is armed: an armed one may still bring one job of a queue just paused.
    gate = fleet.enqueue("gated", "end", queue="other")
    fleet.started(gate)
    fleet.client.sadd("paused", "default")
    held = [fleet.enqueue("quick", n) for n in range(3)]
    fleet.open("end")
    fleet.done([fleet.enqueue("quick", queue="other") for _ in range(5)])
    assert fleet.jids("queue:default")[::-1] == held
    fleet.client.srem("paused", "default")
    fleet.done(held, 5)
    fleet.drained("default", "other")


def test_a_pause_reaches_a_worker_that_waits(fleet: Fleet) -> None:
    """Its doorbell hangs in the server when the pause comes, and is armed no more after its short time is out."""
    fleet.start()
    fleet.done([fleet.enqueue("quick")])
    fleet.client.sadd("paused", "default")
    tried: list[float] = [0.0]

    def stays() -> bool:
        if fleet.jids("queue:default") == []:
            tried[:] = [now()]
            fleet.enqueue("quick")
        return now() - tried[0] > 0.6

    eventually(stays, 5, "a job stays in the paused queue")
    fleet.client.srem("paused", "default")
    fleet.drained(within=5)


# -- jobs whose time comes


def test_jobs_start_at_their_time(fleet: Fleet) -> None:
    fleet.start(concurrency=8)
    due = {}
    for n in range(25):
        at = time.time() + 0.3 + 0.05 * n
        due[fleet.app.enqueue_at(at, "quick", n)] = at
    offset = time.time() - now()
    assert fleet.client.zcard("schedule") >= 20
    fleet.done(list(due))
    lateness = [fleet.ledger.started(jid)[0].at + offset - at for jid, at in due.items()]
    print(f"late: median {1000 * sorted(lateness)[12]:.0f} ms, worst {1000 * max(lateness):.0f} ms")  # noqa: T201
    assert min(lateness) > -0.01, "none before its time"
    assert max(lateness) < LATE + BUSY
    assert fleet.client.zcard("schedule") == 0


def test_a_promotion_keeps_arguments_as_they_are(fleet: Fleet) -> None:
    """Bytes that Python's JSON, or Lua's, would write otherwise."""
    arguments = b'[ 123456789012345678901234567890, 1e400, 1.10, "\\u00e9\\/", -0.0,{"b":1,"a":[]} ]'
    payload = b'{"class":"nobody","args":%s,"jid":"aaaaaaaaaaaaaaaaaaaaaaaa","queue":"elsewhere","retry":5}' % arguments
    fleet.client.zadd("schedule", {payload: time.time() - 1})
    fleet.start()
    eventually(lambda: fleet.client.llen("queue:elsewhere") == 1)
    [moved] = fleet.client.lrange("queue:elsewhere", 0, -1)
    assert arguments in moved
    assert b"enqueued_at" in moved


def test_one_of_several_pods_promotes_and_another_takes_over(fleet: Fleet) -> None:
    pods = [fleet.start() for _ in range(2)]
    jids = [fleet.app.enqueue_in(0.1, "quick", n) for n in range(5)]
    fleet.done(jids)
    owner = fleet.client.get("lease:promote")
    assert owner
    fleet.drained()
    # Whoever leads: kill one, then the other has to.
    pods[0].kill()
    later = [fleet.app.enqueue_in(0.1, "quick", n) for n in range(5)]
    fleet.done(later, 6)
    fleet.drained()
    assert fleet.ledger.repeated() == {}


def test_a_hundred_thousand_due_jobs_do_not_block_the_server(fresh_server: FreshServer, fleet_on: FleetOn) -> None:
    fleet = fleet_on(fresh_server(settings={"slowlog-log-slower-than": "100000", "slowlog-max-len": "1000"}).url)
    total = 100_000
    for start in range(0, total, 10_000):
        fleet.client.zadd(
            "schedule",
            {
                b'{"class":"quick","args":[%d],"jid":"%024x","queue":"bulk","retry":true}' % (n, n): 1.0 + n
                for n in range(start, start + 10_000)
            },
        )
    fleet.client.slowlog_reset()
    fleet.client.config_resetstat()
    fleet.start()
    began = now()
    eventually(lambda: fleet.client.zcard("schedule") == 0, 30, "all are promoted")
    print(f"promoted in {now() - began:.1f} s")  # noqa: T201
    assert fleet.client.llen("queue:bulk") == total
    # What one call may do is bounded; what it takes is bounded by far more than that, for a machine may be busy.
    scripts = fleet.client.info("commandstats")["cmdstat_evalsha"]
    print(f"{scripts['usec_per_call']} us per call")  # noqa: T201
    assert scripts["calls"] >= total / 1000
    slow = [entry["duration"] for entry in fleet.client.slowlog_get(1000) if entry["command"].startswith(b"EVAL")]
    assert slow == [], "microseconds"
    ends = [orjson.loads(fleet.client.lindex("queue:bulk", place) or "{}")["args"] for place in (-1, 0)]
    assert ends == [[0], [total - 1]], "in the order of their times"
