"""`python -m bench limit`: how many jobs the scripts allow, by the number of jobs in a turn."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Sequence
from pathlib import Path

import click
from rich.table import Table

from bench.failed import Failed
from bench.peers.ceiling import Ceiling
from bench.report import new_table, terminal
from bench.runner import measure, processors
from bench.server import DURABILITIES, Durability, Place, serve
from bench.stage import Sizes
from chaos.servers import MissingServer
from reliq.cli.bench.machine import machine

TURNS = (1, 10, 50, 100, 250, 500, 1000)
DEPTHS = (1, 2)
MOST_TURNS = 10_000
"""Of one drain: a hundred thousand turns of one job each would take half a minute."""


@click.command()
@click.option("--turn", "turns", type=click.IntRange(1, 5000), multiple=True, help="Jobs per turn; may be repeated.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--jobs", type=click.IntRange(50, 900_000), default=Sizes().jobs, show_default=True, help="Per drain.")
@click.option("--durability", type=click.Choice(DURABILITIES), default="everysec", show_default=True)
@click.option("--pinned", is_flag=True, help="Server and loop on one processor.")
def limit(turns: tuple[int, ...], rounds: int, jobs: int, durability: Durability, pinned: bool) -> None:
    """Drive the turn script by a bare loop over one socket, and print what it does.

    With one turn on its way at a time server and loop wait for each other; with two they work at the same time.
    """
    console = terminal()
    try:
        cpus, spare = processors() if pinned else (None, None)
        with serve(durability, cpus) as place:
            console.print(f"{machine()}; {place.title}, durability {durability}{'; pinned' if pinned else ''}")
            if spare is not None:
                os.sched_setaffinity(0, spare)
            console.print(_table(place, turns or TURNS, rounds, jobs, spare))
    except (Failed, MissingServer) as error:
        raise click.ClickException(str(error)) from None


def _table(place: Place, turns: Sequence[int], rounds: int, jobs: int, spare: frozenset[int] | None) -> Table:
    found: dict[tuple[int, int], list[dict[str, float]]] = {}
    for _ in range(rounds):
        for turn in turns:
            for depth in DEPTHS:
                found.setdefault((turn, depth), []).append(_drain(place, turn, depth, jobs, spare))
    heads = "jobs per turn", "jobs/s, 1 turn on its way", "jobs/s, 2 turns", "server CPU, ms per 1,000 jobs"
    table = new_table(*heads)
    for turn in turns:
        rates = [statistics.median(values["rate"] for values in found[turn, depth]) for depth in DEPTHS]
        cpu = statistics.median(values["server-cpu"] for values in found[turn, DEPTHS[-1]])
        table.add_row(f"{turn:,}", *(f"{rate:,.0f}" for rate in rates), f"{cpu:.1f}")
    return table


def _drain(place: Place, turn: int, depth: int, jobs: int, spare: frozenset[int] | None) -> dict[str, float]:
    peer = Ceiling(Path())
    peer.turn, peer.depth = turn, depth
    sizes = Sizes(jobs=max(50, min(jobs, turn * MOST_TURNS)), drain=math.inf)
    sample = measure("drain-1", peer, place, sizes, spare=spare)
    if sample.failure is not None:
        raise Failed(sample.failure)
    return sample.values
