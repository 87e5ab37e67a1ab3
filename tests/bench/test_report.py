"""Tables, ratios, files, and the order of the runs, with made-up numbers."""

from __future__ import annotations

import os
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from bench.failed import Failed
from bench.peers import PEERS
from bench.peers.ceiling import Ceiling
from bench.peers.peer import RowName
from bench.peers.reliq import Reliq
from bench.plot import plot
from bench.report import grids, markdown, ratio, show
from bench.results import About, Results, Sample, Setting
from bench.rows import ROWS, Measure
from bench.runner import Plan, processors
from bench.stage import Sizes
from reliq.cli.bench.measuring import percentile
from tests.bench.conftest import Fake

SETTING = Setting(machine="a machine", server="Redis 7.0.15", durability="everysec", pinned=False)

FAST, SLOW = (90, 100, 800), (9, 10, 12)


def sample(row: RowName, peer: str, number: int, failure: str | None = None, **values: float) -> Sample:
    return Sample(
        row=row,
        peer=peer,
        round=number,
        values={name.replace("_", "-"): value for name, value in values.items()},
        failure=failure,
    )


@pytest.fixture
def results() -> Results:
    return Results(
        setting=SETTING,
        peers={
            "reliq": About(title="reliq 1", mode="as it comes", reliable=None),
            "slow": About(title="slow 2", mode="default", reliable="retries=3"),
        },
        samples=[
            *(sample("drain-1", "reliq", at, jobs=10, rate=rate, worker_cpu=5) for at, rate in enumerate(FAST)),
            *(sample("drain-1", "slow", at, jobs=10, rate=rate, worker_cpu=20) for at, rate in enumerate(SLOW)),
            sample("latency", "reliq", 0, samples=5, p50=0.5, p99=2.0),
            sample("latency", "slow", 0, failure="its worker ended with 1: no word in its log"),
            sample("kill-worker", "reliq", 0, lost=0, kept=0, recovery=0.01),
            sample("kill-worker", "slow", 0, lost=100, kept=0),
        ],
        left_out=["other is left out: it comes from Debian"],
    )


def test_cells_are_medians_with_ratios(results: Results) -> None:
    drain, latency, kills = grids(results)
    assert drain.title == ROWS["drain-1"].title
    assert drain.lines[0][:4] == ["reliq 1", "10", "100", "5.0"]
    assert drain.lines[1][:4] == ["slow 2", "10", "10 (10.0x)", "20.0 (4.0x)"]
    assert latency.lines[1] == ["slow 2", "-", "-", "-"]
    assert latency.notes == ["slow 2: its worker ended with 1: no word in its log"]
    assert kills.lines == [["reliq 1", "0", "0", "0.010"], ["slow 2", "100", "0", "-"]]


@pytest.mark.parametrize(
    ("better", "mine", "its", "shown"),
    [
        ("more", 100, 10, "10.0x"),
        ("more", 10, 20, "0.50x"),
        ("more", 5000, 100, "50x"),
        ("less", 2, 3, "1.50x"),
        ("less", 4, 1, "0.25x"),
        ("less", 0, 3, ""),
        ("more", None, 3, ""),
        (None, 1, 3, ""),
    ],
)
def test_a_ratio_says_how_many_times_better_reliq_is(
    better: str | None, mine: float | None, its: float, shown: str
) -> None:
    assert ratio(mine, its, Measure("m", "m", better)) == shown  # type: ignore[arg-type]


def test_markdown_has_every_number_of_the_terminal(results: Results) -> None:
    text = markdown(results)
    for grid in grids(results):
        for line in grid.lines:
            assert f"| {' | '.join(line)} |" in text
    for word in (
        "a machine; Redis 7.0.15, durability everysec",
        "of 3 rounds",
        "other is left out",
        "retries=3",
    ):
        assert word in text
    written = StringIO()
    show(results, Console(file=written, width=200))
    for word in ("slow 2", "10 (10.0x)", "its worker ended with 1", "other is left out"):
        assert word in written.getvalue()


def test_what_is_saved_is_what_is_loaded(results: Results, tmp_path: Path) -> None:
    results.save(tmp_path / "there" / "results.json")
    assert Results.load(tmp_path / "there" / "results.json") == results


def test_a_row_that_is_measured_again_replaces_the_old_one_and_no_other(results: Results) -> None:
    newer = Results(
        setting=SETTING,
        peers={"reliq": About(title="reliq 2", mode="as it comes", reliable=None)},
        samples=[sample("drain-1", "reliq", 0, jobs=10, rate=7)],
    )
    results.replace(newer)
    assert results.median("drain-1", "reliq", "rate") == 7
    assert results.median("drain-1", "slow", "rate") == 10
    assert results.median("latency", "reliq", "p50") == 0.5
    assert results.peers["reliq"].title == "reliq 2"


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_the_plot_is_written(results: Results, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"plot.{suffix}"
    plot(results, path)
    assert path.read_bytes()[:5] in (b"<?xml", b"\x89PNG\r")


def test_percentiles_are_values_that_were_seen() -> None:
    ordered = [float(number) for number in range(1, 101)]
    assert (percentile(ordered, 50), percentile(ordered, 99), percentile(ordered, 100)) == (50, 99, 100)
    assert percentile([3.0], 99) == 3


def test_peers_take_turns_in_going_first_and_the_ceiling_follows_the_worker() -> None:
    fake, reliq, ceiling = Fake("safe"), Reliq(Path()), Ceiling(Path())
    plan = Plan(
        peers=[ceiling, reliq, fake],
        rows=["drain-1", "bulk", "kill-worker"],
        rounds=3,
        sizes=Sizes(),
        durability="none",
        pinned=False,
    )
    drains = [[peer.name for at, row, peer in plan.steps if (at, row) == (number, "drain-1")] for number in range(3)]
    assert drains == [["reliq", "fake", "ceiling"], ["reliq", "fake", "ceiling"], ["fake", "reliq", "ceiling"]]
    assert {peer.name for _, row, peer in plan.steps if row == "bulk"} == {"reliq"}
    assert {at for at, row, _ in plan.steps if row == "kill-worker"} == {0}


def test_pinned_needs_two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    with pytest.raises(Failed, match="--pinned needs two processors"):
        processors()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5, 3, 7})
    assert processors() == (frozenset({3}), frozenset({5}))


def test_every_row_is_measured_of_reliq_and_every_measure_has_its_own_name() -> None:
    assert set(ROWS) == set(PEERS["reliq"].rows)
    for row in ROWS.values():
        names = [measure.name for measure in row.measures]
        assert len(names) == len(set(names))
