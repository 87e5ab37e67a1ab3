"""Timelines and `reliq show`: what happened to a job, as workers, supervisors and reapers wrote it down."""

import json
import time
from typing import Any, cast

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from chaos.eventually import eventually
from chaos.servers import Server
from reliq.config import Config
from reliq.store.keys import Keyspace
from reliq.store.opening import Store
from reliq.store.timeline import LONGEST, MOST, Event, Timelines
from tests.server.conftest import FleetOn
from tests.support.fleet import Fleet


@pytest.fixture
def told(server: Server, fleet_on: FleetOn) -> Fleet:
    """A fleet in which every job has a timeline."""
    return fleet_on(server.url, settings={"timeline_rate": 1.0})


def show(fleet: Fleet, jid: str, code: int = 0) -> dict[str, Any]:
    """What `reliq show --json` says."""
    answer = fleet.command("show", jid, "--json", "--url", fleet.url)
    assert answer.code == code, answer.error
    found: dict[str, Any] = json.loads(answer.output)
    return found


def events(fleet: Fleet, jid: str) -> list[str]:
    """What has happened to a job, in words."""
    return [event.what for event in timeline(fleet, jid)]


def timeline(fleet: Fleet, jid: str) -> list[Event]:
    """What has happened to a job."""
    texts = cast("list[bytes]", fleet.client.lrange(f"timeline:{jid}", 0, -1))
    return [event for event in map(Event.decode, texts) if event is not None]


def become(fleet: Fleet, jid: str, *expected: str, within: float = 20.0) -> list[Event]:
    """Wait until exactly this has happened to it."""
    eventually(lambda: events(fleet, jid) == list(expected), within, f"the timeline is {expected}")
    return timeline(fleet, jid)


def test_a_job_that_succeeds(told: Fleet) -> None:
    pod = told.start()
    before = time.time()
    for name, args in (("slow", (0.05,)), ("patient", (0.05,))):
        jid = told.enqueue(name, *args)
        begun, done = become(told, jid, "started", "done")
        assert (begun.attempt, begun.queue) == (1, "default")
        assert before - 1 <= begun.at <= done.at <= time.time() + 1
        assert done.seconds is not None
        assert 0.05 <= done.seconds < 5
        assert begun.identity == done.identity == told.ledger.started(jid)[0].identity
        assert 0 < told.client.pttl(f"timeline:{jid}") <= 7 * 86_400_000
    assert pod.stop_and_wait() == 0


def test_what_runs_is_told_while_it_runs(told: Fleet) -> None:
    pod = told.start()
    jid = told.enqueue("gated", "end")
    (begun,) = become(told, jid, "started")
    (place,) = show(told, jid)["places"]
    assert (place["kind"], place["queue"], place["alive"]) == ("private", "default", True)
    assert place["identity"] == begun.identity
    assert abs(place["since"] - begun.at) < 2
    told.open("end")
    become(told, jid, "started", "done")
    assert show(told, jid)["places"] == []
    assert pod.stop_and_wait() == 0


def test_failures_with_their_errors(told: Fleet) -> None:
    told.start()
    jid = told.enqueue("fail_times", 1)
    *_, failed = become(told, jid, "started", "retried")
    assert "fail" in failed.text or failed.text
    (place,) = show(told, jid)["places"]
    assert (place["kind"], place["at"] > time.time()) == ("retry", True)
    told.make_due()
    again = become(told, jid, "started", "retried", "started", "done")
    assert [event.attempt for event in again] == [1, 1, 2, 2]
    buried = told.enqueue("fail", "for good", retry=0)
    assert "for good" in become(told, buried, "started", "buried")[-1].text
    assert show(told, buried)["places"][0]["kind"] == "dead"


def test_a_process_that_is_killed(told: Fleet) -> None:
    pod = told.start()
    jid = told.enqueue("gated", "end")
    become(told, jid, "started")
    pid = pod.kill_worker()
    told.started(jid, times=2)
    told.open("end")
    found = become(told, jid, "started", "died", "started", "done")
    died = next(event for event in found if event.what == "died")
    assert f":{pid}:" in died.identity
    assert "SIGKILL" in died.text
    assert died.text.endswith(": queued")
    assert show(told, jid)["crashes"] == 0, "it has succeeded"


def test_a_pod_that_is_lost(told: Fleet) -> None:
    pod, _ = told.start(), told.start(queues=("other",))
    jid = told.enqueue("gated", "end")
    become(told, jid, "started")
    eventually(lambda: told.client.hlen(f"{told.ledger.started(jid)[0].identity}:work") == 1, 10, "Redis knows it runs")
    pod.kill()
    *_, died = become(told, jid, "started", "died")
    assert died.text.endswith("died: queued")
    (place,) = show(told, jid)["places"]
    assert (place["kind"], place["ahead"]) == ("queue", 0)


def test_a_deploy_gives_it_back(told: Fleet) -> None:
    pod = told.start(options=("--timeout", "0.2"))
    jid = told.enqueue("slow", 60)
    told.started(jid)
    assert pod.stop_and_wait() == 0
    *_, released = become(told, jid, "started", "released")
    assert released.attempt == 1


def test_without_a_rate_nothing_is_kept(fleet: Fleet) -> None:
    pod = fleet.start()
    jid = fleet.enqueue("quick")
    fleet.done([jid])
    assert pod.stop_and_wait() == 0
    assert not fleet.client.exists(f"timeline:{jid}")
    found = show(fleet, jid, code=1)
    assert found == {"jid": jid, "places": [], "crashes": 0, "timeline": [], "complete": True}
    human = fleet.command("show", jid, "--url", fleet.url)
    assert "timeline_rate is 0" in human.output


def test_a_refusal_costs_the_timeline_alone(told: Fleet) -> None:
    told.client.set("timeline:foreign", "x")
    jid = told.enqueue("quick")
    told.client.set(f"timeline:{jid}", "not a list")
    pod = told.start()
    told.done([jid])
    other = told.enqueue("quick")
    become(told, other, "started", "done")
    assert "timelines cannot be written" in pod.log
    assert pod.stop_and_wait() == 0
    told.client.delete("timeline:foreign", f"timeline:{jid}")


def test_people_read_it(told: Fleet) -> None:
    waits = told.enqueue("quick", "a key")
    ahead = told.enqueue("quick")
    text = told.command("show", ahead, "--url", told.url).output
    assert "waits in queue default, behind 1 others" in text
    text = told.command("show", waits, "--url", told.url).output
    assert "behind 0 others" in text
    assert "quick('a key')" in text
    told.start()
    become(told, waits, "started", "done")
    text = told.command("show", waits, "--url", told.url).output
    assert "is in no queue any more" in text
    assert "started" in text
    assert "done" in text
    later = told.app.enqueue_in(3600, "quick")
    assert "is scheduled for" in told.command("show", later, "--url", told.url).output


@given(st.lists(st.text(min_size=1), min_size=1, max_size=5), st.floats(0, 1))
def test_a_job_is_chosen_everywhere_or_nowhere(jids: list[str], rate: float) -> None:
    one, other = (Timelines(Config(timeline_rate=rate), Keyspace()) for _ in range(2))
    assert [one.chosen(jid) for jid in jids] == [other.chosen(jid) for jid in jids]
    assert all(Timelines(Config(timeline_rate=1.0), Keyspace()).chosen(jid) for jid in jids)
    assert not any(Timelines(Config(), Keyspace()).chosen(jid) for jid in jids)


def test_the_share_is_what_was_asked_for() -> None:
    half = Timelines(Config(timeline_rate=0.5), Keyspace())
    assert 4_700 < sum(half.chosen(f"{number:024x}") for number in range(10_000)) < 5_300


@given(st.binary(max_size=60))
def test_what_is_no_event_is_passed_over(text: bytes) -> None:
    Event.decode(text)


@given(st.text(max_size=2 * LONGEST), st.floats(0, 4e9))
def test_events_survive_the_way_there_and_back(text: str, at: float) -> None:
    event = Event(at=at, what="died", identity="a:1:0123456789ab", text=text)
    found = Event.decode(event.encode())
    assert found is not None
    assert (found.at, found.identity) == (at, event.identity)
    assert found.text == text[:LONGEST].encode("utf-8", "replace").decode()


def test_only_the_latest_are_kept(told: Fleet, redis_client: redis.Redis) -> None:
    redis_client.rpush("timeline:x", *[Event(at=1.0, what="started", identity="old").encode() for _ in range(MOST + 9)])
    timelines = Timelines(told.app.config, Keyspace())
    store = Store(told.app.config)
    link = store.link("test")
    timelines.write(link, [("x", Event(at=2.0, what="done", identity="new"))])
    assert redis_client.llen("timeline:x") == MOST
    assert timelines.read(link, "x")[-1].what == "done"
    link.close()
    store.close()
