"""What the driver makes of the list of pods: each state, and the moments between two lists."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chaos.pods.kubecall import Kubectl, KubectlError
from chaos.pods.kubectl import KubectlCluster
from chaos.pods.podstate import End, pod_states
from chaos.records import PodEvent, now
from tests.chaos.recorded import RecordedKubectl, objects, pod

CRASHED = {"terminated": {"exitCode": 70, "reason": "Error", "startedAt": None, "finishedAt": "2026-05-04T10:02:41Z"}}
KILLED = {"terminated": {"exitCode": 137, "reason": "Error", "startedAt": None, "finishedAt": "2026-05-04T10:02:41Z"}}
RUNS = {"running": {"startedAt": "2026-05-04T10:02:42Z"}}
WAITS = {"waiting": {"reason": "CrashLoopBackOff"}}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("pending", {"phase": "Pending", "node": "", "running": False, "ready": False, "ends": {}}),
        ("not-ready", {"phase": "Running", "node": "kind-worker", "running": True, "ready": False, "ends": {}}),
        ("ready", {"phase": "Running", "running": True, "ready": True, "deleting": False, "restarts": 0, "ends": {}}),
        ("terminating", {"node": "kind-worker2", "running": True, "ready": True, "deleting": True, "grace": 10}),
        (
            "succeeded",
            {"phase": "Succeeded", "running": False, "ends": {0: End(0, "Completed", "2026-05-04T10:02:41Z")}},
        ),
        ("failed", {"phase": "Failed", "running": False, "ends": {0: End(1, "Error", "2026-05-04T10:02:41Z")}}),
        (
            "crash-loop",
            {
                "phase": "Running",
                "running": False,
                "waiting": "CrashLoopBackOff",
                "restarts": 3,
                "ends": {3: End(70, "Error", "2026-05-04T10:02:41Z")},
            },
        ),
        (
            "oom-killed",
            {"running": True, "ready": True, "restarts": 1, "ends": {0: End(-9, "OOMKilled", "2026-05-04T10:02:41Z")}},
        ),
        (
            "evicted",
            {
                "phase": "Failed",
                "reason": "Evicted",
                "running": False,
                "ready": False,
                "ends": {0: End(-9, "ContainerStatusUnknown", "")},
            },
        ),
    ],
)
def test_each_state_is_read(state: str, expected: dict[str, Any]) -> None:
    (found,) = pod_states({**objects()["list"], "items": [pod(state)]}, "worker")
    assert {name: getattr(found, name) for name in expected} == expected
    assert found.name.startswith("reliq-worker-7c9f8d6b5d-")


def test_pods_come_oldest_first() -> None:
    items = [pod("terminating"), pod("ready"), pod("pending")]
    assert [state.created[-4:] for state in pod_states({"items": items}, "worker")] == [":00Z", ":02Z", ":03Z"]


def test_other_containers_do_not_count() -> None:
    item = pod("ready")
    item["status"]["containerStatuses"].insert(0, {"name": "sidecar", "restartCount": 9, "state": WAITS})
    (found,) = pod_states({"items": [item]}, "worker")
    assert (found.restarts, found.running) == (0, True)


@pytest.mark.parametrize("signal", [1, 9, 15, 64])
def test_exit_codes_of_signals_are_negative(signal: int) -> None:
    ended = {"terminated": {"exitCode": 128 + signal}}
    (found,) = pod_states({"items": [pod("failed", state=ended)]}, "worker")
    assert found.ends == {0: End(-signal)}


@pytest.mark.parametrize("code", [0, 1, 69, 128, 255])
def test_other_exit_codes_are_themselves(code: int) -> None:
    (found,) = pod_states({"items": [pod("failed", state={"terminated": {"exitCode": code}})]}, "worker")
    assert found.ends == {0: End(code)}


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({}, "a thing without a kind, not a list of pods"),
        ({"kind": "Status", "status": "Failure"}, "printed a Status, not a list of pods"),
        ({"items": [{}]}, "a pod that cannot be read: KeyError"),
        ({"items": ["pod/x"]}, "a pod that cannot be read: TypeError"),
        ({"items": [{"metadata": {"name": "x"}, "spec": {}}]}, "a pod that cannot be read: KeyError.*uid"),
        ({"items": [pod("ready", restartCount="many")]}, "a pod that cannot be read: ValueError"),
    ],
)
def test_what_is_no_list_of_pods_is_said_so(answer: dict[str, Any], text: str) -> None:
    with pytest.raises(KubectlError, match=text):
        pod_states(answer, "worker")


# -- from list to list


Watch = Callable[..., tuple[KubectlCluster, list[PodEvent]]]


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[RecordedKubectl]:
    """A recorded kubectl that was asked nothing it does not know, when the test is over."""
    program = RecordedKubectl(tmp_path)
    yield program
    assert not program.unknown()


Struck = list[tuple[str, str, tuple[int, ...], float]]


@pytest.fixture
def struck() -> Struck:
    """The deaths that the cluster told of: name, pod, processes, since when."""
    return []


@pytest.fixture
def watch(recorded: RecordedKubectl, struck: Struck) -> Watch:
    """Shows a cluster one list after the other; gives it and what it noted."""

    def show(*lists: list[dict[str, Any]]) -> tuple[KubectlCluster, list[PodEvent]]:
        recorded.finds()
        recorded.allows_all()
        for pods in lists:
            recorded.lists(*pods)
        events: list[PodEvent] = []
        cluster = KubectlCluster(
            Kubectl(program=str(recorded.path)),
            "reliq-worker",
            events.append,
            struck=lambda *what: struck.append(what),
            every=0.0,
        )
        for _ in lists[1:]:
            cluster.tick()
        return cluster, events

    return show


NAME = "reliq-worker-7c9f8d6b5d-8hj7w"
START = {"replica": NAME, "host": NAME, "node": "kind-worker", "uid": pod("ready")["metadata"]["uid"]}
GOING = {"deletionTimestamp": "2026-05-04T10:05:10Z"}
UNREADY = [{"type": "Ready", "status": "False"}]


def told(events: list[PodEvent]) -> list[tuple[str, str]]:
    return [(event.pod.removeprefix(NAME), event.what) for event in events]


def said(event: PodEvent) -> dict[str, Any]:
    """The detail of an event, without since when it may have come."""
    return {name: value for name, value in event.detail.items() if name != "since"}


def test_a_whole_life(watch: Watch) -> None:
    cluster, events = watch(
        [pod("ready", status={"phase": "Pending", "containerStatuses": []})],
        [pod("ready", status={"conditions": UNREADY})],
        [pod("ready")],
        [pod("ready")],
        [pod("ready", metadata={**GOING, "deletionGracePeriodSeconds": 10})],
        [pod("ready", metadata=GOING, status={"conditions": UNREADY}, state=CRASHED)],
        [],
    )
    assert told(events) == [("", "start"), ("", "ready"), ("", "term"), ("", "end")]
    assert [said(event) for event in events] == [
        START,
        {},
        {"grace": 10},
        {"code": 70, "reason": "Error", "finished_at": "2026-05-04T10:02:41Z"},
    ]
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert cluster.pods() == []


def test_a_pending_pod_has_not_started(watch: Watch) -> None:
    cluster, events = watch([pod("pending")])
    assert (cluster.pods(), events) == ([], [])


def test_a_container_that_starts_again_is_another_pod_of_the_same_replica(watch: Watch, struck: Struck) -> None:
    cluster, events = watch([pod("ready")], [pod("ready", restartCount=1, state=RUNS, lastState=KILLED, ready=True)])
    assert told(events) == [("", "start"), ("", "ready"), ("", "end"), ("-1", "start"), ("-1", "ready")]
    assert events[2].detail["code"] == -9
    assert not struck, "somebody killed it, nobody knows why: that explains nothing"
    (one,) = cluster.pods()
    assert (one.name, one.replica, one.running(), one.exit_code()) == (f"{NAME}-1", NAME, True, None)


def test_a_container_that_waits_for_its_next_start_has_ended_and_ends_once(watch: Watch) -> None:
    waits = pod("ready", state=WAITS, lastState=CRASHED, status={"conditions": UNREADY})
    again = pod("ready", restartCount=1, state=RUNS, lastState=CRASHED)
    cluster, events = watch([pod("ready")], [waits], [waits], [again])
    assert told(events) == [("", "start"), ("", "ready"), ("", "end"), ("-1", "start"), ("-1", "ready")]
    assert events[2].detail["code"] == 70
    assert len(cluster.pods()) == 1


def test_a_run_that_no_list_ever_showed_is_not_told(watch: Watch) -> None:
    _, events = watch([pod("ready")], [pod("ready", restartCount=2, state=RUNS, lastState=KILLED)])
    assert told(events) == [("", "start"), ("", "ready"), ("", "end"), ("-2", "start"), ("-2", "ready")]
    assert said(events[2]) == {"code": None, "reason": "restarted", "finished_at": ""}


def test_an_old_end_is_not_told_as_news(watch: Watch) -> None:
    _, events = watch([pod("oom-killed"), pod("crash-loop"), pod("failed"), pod("succeeded"), pod("evicted")])
    assert [(event.pod[-2:], event.what) for event in events] == [("-1", "start"), ("-1", "ready")]


def test_a_memory_limit_that_struck_is_told(watch: Watch, struck: Struck) -> None:
    before = pod("oom-killed", restartCount=0, lastState={})
    _, events = watch([before], [pod("oom-killed")])
    (end,) = [event for event in events if event.what == "end"]
    assert (end.detail["code"], end.detail["reason"]) == (-9, "OOMKilled")
    assert struck == [("oom-killed", end.pod, (), end.detail["since"])]


@pytest.mark.parametrize("statuses", [pod("evicted")["status"]["containerStatuses"], []], ids=["unknown", "none"])
def test_an_eviction_is_told(watch: Watch, struck: Struck, statuses: list[dict[str, Any]]) -> None:
    evicted = pod("evicted", metadata=pod("ready")["metadata"], status={"containerStatuses": statuses})
    cluster, events = watch([pod("ready")], [evicted])
    assert (events[-1].what, events[-1].detail["reason"]) == ("end", "Evicted")
    assert [what[:2] for what in struck] == [("evicted", NAME)]
    assert cluster.pods() == []


def test_a_pod_that_is_off_the_list_has_ended_nobody_knows_how(watch: Watch) -> None:
    cluster, events = watch([pod("ready"), pod("not-ready")], [pod("not-ready")])
    assert told(events)[-1] == ("", "end")
    assert said(events[-1]) == {"code": None, "reason": "no longer listed", "finished_at": ""}
    assert len(cluster.pods()) == 1


def test_pods_are_the_same_objects_from_list_to_list(watch: Watch) -> None:
    cluster, _ = watch([pod("ready"), pod("not-ready")])
    first, again = cluster.pods(), cluster.pods()
    assert [one.ready() for one in first] == [False, True]
    assert all(one is other for one, other in zip(first, again, strict=True))


@pytest.mark.parametrize(("seconds", "code"), [(4.9, 137), (5.1, 0), (5.1, 137), (5.1, None)])
def test_the_end_of_the_grace_period_is_inferred(
    watch: Watch,
    struck: Struck,
    recorded: RecordedKubectl,
    monkeypatch: pytest.MonkeyPatch,
    *,
    seconds: float,
    code: int | None,
) -> None:
    time = 100.0
    monkeypatch.setattr("chaos.pods.kubepod.now", lambda: time)
    cluster, events = watch([pod("ready")])
    recorded.knows("delete")
    cluster.pods()[0].delete(5)
    time += seconds
    recorded.lists(*([] if code is None else [pod("ready", state={"terminated": {"exitCode": code}})]))
    cluster.tick()
    kill = [("kill", 105.0)] if seconds > 5 and code != 0 else []
    assert [(event.what, event.at) for event in events[2:]] == [("term", 100.0), *kill, ("end", 100.0 + seconds)]
    assert struck == [("grace-over", NAME, (), at) for _, at in kill]


def test_a_forced_deletion_kills_two_seconds_later(
    watch: Watch, recorded: RecordedKubectl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chaos.pods.kubepod.now", lambda: 100.0)
    cluster, events = watch([pod("ready")])
    recorded.knows("delete now")
    (one,) = cluster.pods()
    recorded.lists()
    one.delete(0)
    cluster.tick()
    assert [(event.what, event.at) for event in events[2:]] == [("term", 100.0), ("kill", 102.0), ("end", 100.0)]


def test_a_pod_that_the_driver_has_deleted_is_told_once(watch: Watch, recorded: RecordedKubectl) -> None:
    cluster, events = watch([pod("ready")])
    recorded.knows("delete")
    recorded.lists(pod("ready", metadata={**GOING, "deletionGracePeriodSeconds": 5}))
    cluster.pods()[0].delete(5)
    cluster.tick()
    assert told(events) == [("", "start"), ("", "ready"), ("", "term")]
    assert said(events[-1]) == {"grace": 5}


def test_what_a_list_shows_first_came_after_the_list_before(watch: Watch, recorded: RecordedKubectl) -> None:
    cluster, events = watch([])
    recorded.lists(pod("ready"))
    recorded.lists(pod("ready", metadata={**GOING, "deletionGracePeriodSeconds": 5}))
    recorded.lists()
    moments = []
    for _ in range(3):
        moments.append(now())
        cluster.tick()
    starts, terms, ends = ([event for event in events if event.what == what] for what in ("start", "term", "end"))
    assert starts[0].detail["since"] < moments[0] < starts[0].at
    assert moments[0] < terms[0].detail["since"] < moments[1] < terms[0].at
    assert moments[1] < ends[0].detail["since"] < moments[2] < ends[0].at


def test_a_grace_period_that_somebody_else_gave_may_be_over_early(
    watch: Watch, struck: Struck, recorded: RecordedKubectl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is counted from the list that did not show it yet: the pod may have been told right after that."""
    clock = 100.0
    for module in ("kubectl", "kubepod"):
        monkeypatch.setattr(f"chaos.pods.{module}.now", lambda: clock)
    cluster, events = watch([pod("ready")])
    for seconds, pods in (
        (1.0, [pod("ready", metadata={**GOING, "deletionGracePeriodSeconds": 5})]),
        (4.1, [pod("ready", metadata=GOING, state={"terminated": {"exitCode": 137}})]),
    ):
        clock += seconds
        recorded.lists(*pods)
        cluster.tick()
    assert [(event.what, event.at) for event in events[2:]] == [("term", 101.0), ("kill", 105.0), ("end", 105.1)]
    assert struck == [("grace-over", NAME, (), 105.0)]
