"""The timeline: what lies in which lane, and where."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import attrs
import pytest

from chaos.records import FaultRecord, Harm, PodEvent, Run
from chaos.report.lanes import OTHER, REDIS, REPLICAS, Lanes
from chaos.report.links import links
from chaos.report.timeline import LINKS, Story, timeline
from chaos.verdict import Finding
from tests.chaos import report_ledger
from tests.chaos.markup_reader import read_part, text_of, with_class

TWO_PODS = [
    PodEvent(pod="pod-1-1", what="start", at=0.0),
    PodEvent(pod="pod-1-1", what="members", at=0.5, detail={"pids": [10, 11]}),
    PodEvent(pod="pod-2-1", what="start", at=0.0),
    PodEvent(pod="pod-2-1", what="members", at=0.5, detail={"pids": [20]}),
    PodEvent(pod="pod-1-1", what="ready", at=20.0),
    PodEvent(pod="pod-1-1", what="term", at=60.0),
    PodEvent(pod="pod-1-1", what="end", at=70.0, detail={"code": 0}),
    PodEvent(pod="pod-1-2", what="start", at=80.0),
    PodEvent(pod="pod-1-2", what="members", at=80.5, detail={"pids": [12]}),
]


def fault(target: str, harm: Harm = "dead", at: float = 50.0, **more: Any) -> FaultRecord:
    """One fault."""
    return attrs.evolve(FaultRecord(number=1, name="fault", target=target, harm=harm, at=at), **more)


def run(token: int, pid: int, started_at: float, ended_at: float | None = None, **more: Any) -> Run:
    """One run; done if it ended."""
    made = Run(
        run=f"{token}-{started_at}",
        token=token,
        jid="j",
        attempt=1,
        identity="host:1:n",
        pid=pid,
        digest="d",
        started_at=started_at,
        ended_at=ended_at,
        outcome=None if ended_at is None else "done",
    )
    return attrs.evolve(made, **more)


def drawn(
    *faults: FaultRecord,
    runs: tuple[Run, ...] = (),
    findings: tuple[Finding, ...] = (),
    events: list[PodEvent] | None = None,
) -> ET.Element:
    """The picture of 100 s; the moment t lies at t / 100 of its width."""
    story = Story(
        began=0.0,
        ended=100.0,
        runs=list(runs),
        faults=list(faults),
        events=TWO_PODS if events is None else events,
        findings=[("check", finding) for finding in findings],
        final=None,
    )
    return read_part(timeline(story))[1]


def moment(picture: ET.Element, x: str | None) -> float:
    """The moment of a place."""
    return float(x or "nan") / (float(picture.get("width") or "nan") - 1) * 100


# -- lanes


def test_each_replica_has_a_lane_and_so_has_redis() -> None:
    lanes = Lanes(TWO_PODS, [])
    assert lanes.names == [REDIS, "pod-1", "pod-2"]
    assert [one.lane for one in lanes.incarnations] == ["pod-1", "pod-2", "pod-1"]


def test_a_replica_that_overlaps_itself_gets_a_second_lane() -> None:
    early = PodEvent(pod="pod-1-2", what="start", at=65.0)
    events = [event for event in TWO_PODS if event.pod != "pod-1-2"]
    events.insert(6, early)
    assert Lanes(events, []).names == [REDIS, "pod-1", "pod-1 (2)", "pod-2"]


def test_pods_with_ever_new_names_share_lanes() -> None:
    events = []
    for number in range(REPLICAS + 30):
        name = f"app-5d9c-{number:04x}-0"
        events.append(PodEvent(pod=name, what="start", at=number))
        events.append(PodEvent(pod=name, what="end", at=number + 1.5))
    events.sort(key=lambda event: event.at)
    assert Lanes(events, []).names == [REDIS, "pods", "pods (2)"]


def test_a_fault_lies_in_the_lane_of_what_it_struck() -> None:
    cases: list[tuple[FaultRecord, list[str]]] = [
        (fault("pod-1-2"), ["pod-1"]),
        (fault("pod-2"), ["pod-2"]),
        (fault("redis", "held", pids=(10,)), [REDIS]),
        (fault("all", pids=(20, 11)), ["pod-1", "pod-2"]),
        (fault("network", "held", outage=True), [REDIS]),
        (fault("deployment", "none"), [OTHER]),
        (fault("?", pids=(999,)), [OTHER]),
    ]
    lanes = Lanes(TWO_PODS, [one for one, _ in cases])
    assert [lanes.of_fault(one) for one, _ in cases] == [names for _, names in cases]
    assert lanes.names[-1] == OTHER


def test_a_run_lies_in_the_lane_of_its_process() -> None:
    lanes = Lanes(TWO_PODS, [])
    assert lanes.of_run(run(1, 11, 5.0)) == "pod-1"
    assert lanes.of_run(run(1, 20, 5.0)) == "pod-2"
    assert lanes.of_run(run(1, 999, 5.0)) is None


# -- links


def test_a_kill_is_linked_to_the_next_run() -> None:
    kill = fault("pod-1-1", at=50.0, pids=(10,))
    [link] = links([run(1, 10, 45.0), run(1, 20, 53.0, 54.0)], [kill], Lanes(TWO_PODS, [kill]))
    assert (link.fault, link.lost.pid, link.again.pid, link.seconds) == (kill, 10, 20, 3.0)


def test_a_run_that_was_done_and_not_settled_is_linked_too() -> None:
    kill = fault("pod-1-1", at=50.0, pids=(10,))
    runs = [run(1, 10, 45.0, 49.9), run(1, 20, 53.0, 54.0)]
    assert len(links(runs, [kill], Lanes(TWO_PODS, [kill]))) == 1


@pytest.mark.parametrize(
    ("lost", "again", "pids"),
    [
        (run(1, 10, 45.0, 46.0, outcome="failed"), run(1, 20, 53.0), (10,)),
        (run(1, 10, 45.0), run(1, 20, 49.0), (10,)),
        (run(1, 10, 51.0), run(1, 20, 53.0), (10,)),
        (run(1, 11, 45.0), run(1, 20, 53.0), (10,)),
        (run(1, 10, 45.0), run(2, 20, 53.0), (10,)),
    ],
    ids=["it failed", "it ran again before the kill", "it began after the kill", "not its process", "another job"],
)
def test_what_a_kill_does_not_explain_is_not_linked(lost: Run, again: Run, pids: tuple[int, ...]) -> None:
    kill = fault("pod-1-1", at=50.0, pids=pids)
    assert links([lost, again], [kill], Lanes(TWO_PODS, [kill])) == []


def test_on_a_cluster_a_process_is_known_by_its_pod() -> None:
    events = [
        PodEvent(pod=pod, what=what, at=0.0, detail={"pids": [7]})
        for pod in ("app-a-0", "app-b-0")
        for what in ("start", "members")
    ]
    kill = fault("app-b-0", at=50.0, pids=(7,))
    lanes = Lanes(events, [kill])
    ran_on_a, ran_on_b = (run(1, 7, 45.0, identity=f"app-{name}:7:n") for name in "ab")
    assert (lanes.of_run(ran_on_a), lanes.of_run(ran_on_b)) == ("app-a", "app-b")
    again = run(1, 7, 53.0, identity="app-a:7:n")
    assert links([ran_on_a, again], [kill], lanes) == []
    assert len(links([ran_on_b, again], [kill], lanes)) == 1


def test_the_longest_links_are_drawn() -> None:
    kill = fault("pod-1-1", at=10.0, pids=(10,))
    runs = [one for token in range(300) for one in (run(token, 10, 5.0), run(token, 20, 11.0 + token / 10))]
    picture = drawn(kill, runs=tuple(runs))
    [group] = [group for group in picture if group.get("class") == "links"]
    ends = [moment(picture, line.get("x2")) for line in group]
    assert len(ends) == LINKS
    assert ends == sorted(ends, reverse=True)
    assert ends[0] == pytest.approx(40.9, abs=0.1)
    assert {round(moment(picture, line.get("x1"))) for line in group} == {10}


# -- the picture


def test_a_bar_is_pale_until_ready_and_once_told() -> None:
    picture = drawn()
    first = with_class(picture, "pod")[0]
    spans = [
        (rect.get("class"), moment(picture, rect.get("x")), moment(picture, rect.get("width")))
        for rect in first.iter("rect")
    ]
    near = [(kind, round(at, 1), round(width, 1)) for kind, at, width in spans]
    assert near == [("starting", 0.0, 20.0), ("up", 20.0, 40.0), ("leaving", 60.0, 10.0)]
    assert "pod-1-1: 0:00 to 1:10, ready after 20.0 s, exit code 0" in text_of(first)


@pytest.mark.parametrize("harm", ["none", "dead", "held", "undone"])
def test_each_harm_has_a_mark_of_its_own(harm: Harm) -> None:
    picture = drawn(fault("pod-1-1", harm, at=25.0, in_flight=3))
    [mark] = list(picture.iter("use"))
    lasted = " to the end" if harm == "held" else ""
    assert mark.get("href") == f"#{harm}"
    assert moment(picture, mark.get("x")) == pytest.approx(25.0, abs=0.1)
    assert text_of(mark) == f"0:25 fault of pod-1-1{lasted}, 3 jobs in flight ({harm})"


def test_what_lasts_is_a_span() -> None:
    picture = drawn(
        fault("pod-1-1", "held", at=10.0, ended_at=30.0),
        fault("redis", "undone", at=40.0, ended_at=45.0, outage=True),
        fault("pod-1-1", "dead", at=50.0, ended_at=50.2),
        fault("pod-2-1", "held", at=80.0),
    )
    spans = [
        (rect.get("class"), round(moment(picture, rect.get("x"))), round(moment(picture, rect.get("width"))))
        for rect in with_class(picture, "span")
    ]
    assert spans == [("span hatched held", 10, 20), ("span outage undone", 40, 5), ("span hatched held", 80, 20)]


def test_a_finding_and_the_runs_of_its_job_are_alarming() -> None:
    runs = (run(1, 10, 30.0, 31.0), run(1, 20, 60.0, 61.0), run(2, 20, 70.0, 71.0))
    at, without = Finding(what="w", at=55.0), Finding(what="twice", token=1)
    nowhere = Finding(what="lost", token=9)
    picture = drawn(runs=runs, findings=(at, without, nowhere))
    marks = [use for use in picture.iter("use") if use.get("href") == "#alarm"]
    assert [round(moment(picture, mark.get("x"))) for mark in marks] == [55, 60]
    assert [text_of(mark) for mark in marks] == ["0:55 check: w", "1:00 check: twice"]
    assert [round(moment(picture, rect.get("x"))) for rect in with_class(picture, "run")] == [30, 60]


def test_jobs_that_were_done_fill_their_bins() -> None:
    runs = (*(run(token, 10, 49.0, 50.0) for token in range(40)), run(99, 10, 90.0))
    path = with_class(drawn(runs=runs), "done")[0].get("d") or ""
    base, peak = 96.0, 38.0
    x = 50 / 100 * 1039 // 4 * 4
    assert path == f"M0 {base:g}H{x:g}V{peak:.1f}H{x + 4:g}V{base:.1f}H1040V{base:g}Z"


def test_the_picture_does_not_grow_with_the_jobs(tmp_path: Path) -> None:
    sizes = []
    for jobs in (300, 3_000):
        with report_ledger.build(tmp_path / f"{jobs}.sqlite", minutes=2, jobs=jobs, faults=0) as ledger:
            story = Story(
                began=report_ledger.BEGAN,
                ended=report_ledger.BEGAN + 120,
                runs=ledger.runs(),
                faults=[],
                events=ledger.pod_events(),
                findings=[],
                final=None,
            )
            sizes.append(len(list(read_part(timeline(story)).iter())))
    assert sizes[0] == sizes[1]
