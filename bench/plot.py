"""The plot: one panel per row, a bar per peer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.peers.peer import RowName
from bench.results import Results
from bench.rows import ROWS, Measure, Row

SHOWN: dict[RowName, str] = {
    "drain-1": "rate",
    "drain-2": "rate",
    "io-50": "rate",
    "latency": "p50",
    "enqueue": "rate",
    "bulk": "rate",
    "memory": "memory",
    "kill-worker": "recovery",
}
"""Of each row the one number that is drawn."""

OWN, OTHERS = "#c0392b", "#7f8c8d"
WIDE = 20
"""From this ratio of the largest to the least value on the axis is logarithmic."""


def plot(results: Results, path: Path) -> None:
    """Draw to a file; its suffix says the format."""
    import matplotlib as mpl  # noqa: PLC0415 - half a second, which other commands need not wait

    mpl.use("agg")
    from matplotlib import pyplot  # noqa: PLC0415

    there = {sample.row for sample in results.samples}
    panels = [(ROWS[row], _measure(ROWS[row], name)) for row, name in SHOWN.items() if row in there]
    if not panels:
        return
    columns = 2
    lines = -(-len(panels) // columns)
    figure, axes = pyplot.subplots(lines, columns, figsize=(12, 3.2 * lines), squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    for axis, (row, measure) in zip(axes.flat, panels, strict=False):
        _panel(axis, results, row, measure)
    figure.suptitle(str(results.setting), fontsize=8, wrap=True)
    figure.tight_layout(rect=(0, 0, 1, 0.97))
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


def _measure(row: Row, name: str) -> Measure:
    return next(measure for measure in row.measures if measure.name == name)


def _panel(axis: Any, results: Results, row: Row, measure: Measure) -> None:
    peers = [peer for peer in results.peers if results.of(row.name, peer)]
    values = [results.median(row.name, peer, measure.name) for peer in peers]
    places = list(range(len(peers), 0, -1))
    known = [value for value in values if value is not None]
    least = min(known, default=1.0)
    axis.barh(places, [value or 0.0 for value in values], color=[OWN if peer == "reliq" else OTHERS for peer in peers])
    axis.set_yticks(places, [results.peers[peer].title for peer in peers], fontsize=8)
    logarithmic = max(known, default=1.0) > WIDE * least > 0
    if logarithmic:
        axis.set_xscale("log")
    else:
        axis.locator_params(axis="x", nbins=5)  # six-digit numbers would run into each other
    scale = ", logarithmic" if logarithmic else ""
    less = ", less is better" if measure.better == "less" else ""
    axis.set_title(f"{row.title}: {measure.title}{less}{scale}", fontsize=9)
    for place, peer, value in zip(places, peers, values, strict=True):
        label = _without(results, row, peer) if value is None else f"{value:,.{measure.digits}f}"
        at = value or (least if logarithmic else 0.0)
        axis.annotate(f" {label}", (at, place), va="center", fontsize=7)
    axis.margins(x=0.15)


def _without(results: Results, row: Row, peer: str) -> str:
    """Return what stands where there is no number."""
    lost, kept = (results.median(row.name, peer, name) for name in ("lost", "kept"))
    if lost is None or kept is None:
        return "failed"
    return f"lost: {lost:.0f} %" + (f", kept and not run again: {kept:.0f} %" if kept else "")
