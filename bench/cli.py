"""`python -m bench`: compare, limit, claims. `python -m bench.recovery` stands beside them."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import click
from rich.console import Console

from bench import claims, limit
from bench.environments import CACHE, LeftOut
from bench.failed import Failed
from bench.peers import OWN, PEERS
from bench.peers.peer import Peer, RowName
from bench.plot import plot
from bench.report import markdown, show, terminal
from bench.results import Results, Sample
from bench.rows import ROWS
from bench.runner import Plan, run
from bench.server import DURABILITIES, Durability
from bench.stage import Sizes
from chaos.servers import MissingServer

OUT = Path(tempfile.gettempdir()) / "reliq-bench"
durability_option = click.option(
    "--durability", type=click.Choice(DURABILITIES), default="everysec", show_default=True, help="Of the server."
)
pinned_option = click.option("--pinned", is_flag=True, help="Server and worker on one processor, producer on another.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def cli() -> None:
    """Measure reliq, beside others and alone. Never on a server that is in use: it starts one of its own."""


def _names(known: Iterable[str]) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Return a callback for an option that takes names with commas between."""

    def split(_: click.Context, __: click.Parameter, value: str) -> list[str]:
        names = [name.strip() for name in value.split(",") if name.strip()]
        for name in names:
            if name not in known:
                raise click.BadParameter(f"{name!r} is none of {', '.join(known)}")
        return list(dict.fromkeys(names))

    return split


@cli.command()
@click.option(
    "--peers",
    callback=_names(PEERS),
    default=",".join(name for name in PEERS if name not in OWN),
    show_default=True,
    help="reliq and what it is measured by are always there.",
)
@click.option("--rows", callback=_names(ROWS), default=",".join(ROWS), show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option(
    "--jobs", type=click.IntRange(50, 900_000), default=Sizes().jobs, show_default=True, help="Most per drain."
)
@click.option("--patience", type=float, default=Sizes().patience, show_default=True, help="Seconds, after a kill.")
@durability_option
@pinned_option
@click.option(
    "--envs",
    type=click.Path(path_type=Path, file_okay=False),
    default=CACHE,
    show_default=True,
    help="Where the peers' environments are made.",
)
@click.option("--install/--no-install", default=True, help="Or leave out what is not installed.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=OUT, show_default=True)
def compare(
    *,
    peers: list[str],
    rows: list[RowName],
    rounds: int,
    jobs: int,
    patience: float,
    durability: Durability,
    pinned: bool,
    envs: Path,
    install: bool,
    out: Path,
) -> None:
    """Install the peers, run the same work on all of them, print and save tables and a plot.

    Rows that are run again replace those that were saved before, if machine, server and settings are the same.
    """
    console = terminal()
    made, left_out = _install(dict.fromkeys([*OWN, *peers]), rows, envs, install=install, console=console)
    sizes = Sizes(jobs=jobs, patience=patience)
    plan = Plan(
        peers=made, rows=rows, rounds=rounds, sizes=sizes, durability=durability, pinned=pinned, left_out=left_out
    )
    numbers = itertools.count(1)

    def told(sample: Sample) -> None:
        word = sample.failure or ", ".join(f"{name} {value:,.6g}" for name, value in sample.values.items())
        place = f"{next(numbers):4} of {len(plan.steps)}"
        console.print(f"{place}  {sample.row:12} {sample.peer:16} {word}", soft_wrap=True)

    try:
        results = run(plan, told)
    except (Failed, MissingServer) as error:
        raise click.ClickException(str(error)) from None
    save(results, out, console)


def _install(
    names: Iterable[str], rows: list[RowName], envs: Path, *, install: bool, console: Console
) -> tuple[list[Peer], list[str]]:
    made: list[Peer] = []
    left_out = []
    for name in names:
        if not PEERS[name].rows & set(rows):
            continue
        try:
            made.append(PEERS[name](envs, install=install))
        except LeftOut as reason:
            left_out.append(str(reason))
            console.print(str(reason), soft_wrap=True)
    return made, left_out


def save(results: Results, out: Path, console: Console) -> None:
    """Merge into what is there, write all files, and print."""
    name = f"compare-{'pinned' if results.setting.pinned else 'free'}-{results.setting.durability}"
    path = out / f"{name}.json"
    if path.exists():
        before = Results.load(path)
        if before.setting != results.setting:
            path = out / f"{name}-new.json"
            console.print(f"{out}/{name}.json is of another machine or server; this goes to {path}", soft_wrap=True)
        else:
            before.replace(results)
            results = before
    results.save(path)
    path.with_suffix(".md").write_text(markdown(results), encoding="utf-8")
    plot(results, path.with_suffix(".svg"))
    console.print()
    show(results, console)
    console.print(f"\nsaved: {path.with_suffix('')}.json, .md and .svg", soft_wrap=True)


cli.add_command(limit.limit)
cli.add_command(claims.claims)
