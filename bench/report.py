"""The tables: for terminals and as Markdown. The same cells in both."""

from __future__ import annotations

import sys
from collections.abc import Collection

import attrs
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bench.peers.peer import RowName
from bench.results import About, Results
from bench.rows import ROWS, Measure, Row

BASE = "reliq"
"""All others are compared with it."""


def terminal() -> Console:
    """Return the console of standard output: as wide as it is, and 120 columns into a file."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 120)


def new_table(*heads: str, words: Collection[str] = (), title: str | None = None) -> Table:
    """Return a table without lines yet. Its columns hold numbers, but for those whose heads are in `words`."""
    # One with a title stands among others, and its edges set it apart.
    edge = title is not None
    table = Table(
        title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False, show_edge=edge
    )
    for head in heads:
        table.add_column(head, justify="left" if head in words else "right")
    return table


@attrs.frozen
class Grid:
    """One table: its title, the heads of its columns, and a line per peer."""

    title: str
    heads: list[str]
    lines: list[list[str]]
    notes: list[str]


def grids(results: Results) -> list[Grid]:
    """Return a table for each row that was measured."""
    return [_grid(results, row) for row in ROWS.values() if any(sample.row == row.name for sample in results.samples)]


def _grid(results: Results, row: Row) -> Grid:
    heads = ["", *(measure.title for measure in row.measures)]
    lines, notes = [], [row.note] if row.note else []
    for peer, about in results.peers.items():
        if not results.of(row.name, peer):
            continue
        name = about.title
        if (failure := results.failure(row.name, peer)) is not None:
            notes.append(f"{name}: {failure}")
        lines.append([name, *(_cell(results, row.name, peer, measure) for measure in row.measures)])
    return Grid(row.title + (" (one round)" if row.once else ""), heads, lines, notes)


def _cell(results: Results, row: RowName, peer: str, measure: Measure) -> str:
    value = results.median(row, peer, measure.name)
    if value is None:
        return "-"
    shown = f"{value:,.{measure.digits}f}"
    times = "" if peer == BASE else ratio(results.median(row, BASE, measure.name), value, measure)
    return f"{shown} ({times})" if times else shown


def ratio(base: float | None, value: float | None, measure: Measure) -> str:
    """Return how many times better reliq is, as `9.5x`; below 1 it is worse. Empty where that cannot be said."""
    if base is None or value is None or measure.better is None:
        return ""
    over, under = (base, value) if measure.better == "more" else (value, base)
    if under <= 0:
        return ""
    times = over / under
    return f"{times:,.0f}x" if times >= 20 else f"{times:.1f}x" if times >= 2 else f"{times:.2f}x"


def intro(results: Results) -> list[str]:
    """Return the lines above the tables."""
    rounds = 1 + max((sample.round for sample in results.samples), default=0)
    lines = [
        f"{results.setting}.",
        f"Medians of {rounds} rounds, peers interleaved. In brackets: how many times better reliq is; below 1, worse.",
    ]
    spreads = [spread for peer in results.peers if (spread := _spread(results, peer)) is not None]
    if spreads and rounds > 1:
        lines.append(f"No-op drains of one peer differ by up to {100 * max(spreads):.0f} % of their median.")
    return lines


def _spread(results: Results, peer: str) -> float | None:
    """Return largest minus least rate of the no-op drain, as a share of the median."""
    median, spread = results.median("drain-1", peer, "rate"), results.spread("drain-1", peer, "rate")
    return (spread[1] - spread[0]) / median if median and spread else None


def show(results: Results, console: Console) -> None:
    """Print everything."""
    for text in intro(results):
        console.print(text, soft_wrap=True)
    for grid in grids(results):
        console.print()
        table = new_table(*grid.heads, words=grid.heads[:1], title=grid.title)
        for line in grid.lines:
            table.add_row(*line)
        console.print(table)
        for note in grid.notes:
            console.print(note, soft_wrap=True)
    console.print()
    for about in results.peers.values():
        console.print(f"{about.title}: {_mode(about)}", soft_wrap=True)
    for reason in results.left_out:
        console.print(reason, soft_wrap=True)


def markdown(results: Results) -> str:
    """Return everything as Markdown, to be included in a page."""
    parts = [" ".join(intro(results))]
    for grid in grids(results):
        head = f"| {' | '.join(grid.heads)} |\n|{'---|' * len(grid.heads)}"
        body = "\n".join(f"| {' | '.join(line)} |" for line in grid.lines)
        parts += [f"**{grid.title}**", f"{head}\n{body}"]
        parts += [f"- {note}" for note in grid.notes]
    settings = [f"| {about.title} | {_mode(about)} |" for about in results.peers.values()]
    parts.append("\n".join(["| peer | settings |", "|---|---|", *settings]))
    parts += [f"- {reason}" for reason in results.left_out]
    return "\n\n".join(parts) + "\n"


def _mode(about: About) -> str:
    return about.mode + (f"; in the rows with kills: {about.reliable}" if about.reliable else "")
