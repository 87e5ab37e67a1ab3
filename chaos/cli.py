"""`python -m chaos`: run, list, report, replay, mutants, points, sweep."""

from __future__ import annotations

import json
import secrets
import sys
import tempfile
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from chaos.conductor import Options, Run, StageError
from chaos.ledger import Ledger
from chaos.mutants.build import build
from chaos.mutants.catalogue import MUTANTS, PLAYS, Mutant
from chaos.mutants.hunt import Catch, by_name, hunt
from chaos.oracle import judge
from chaos.pods.local import ROOT
from chaos.report import write
from chaos.report.terminal import progress, show
from chaos.scenarios import SCENARIOS, Scenario
from chaos.verdict import Verdict

RUNS = Path(tempfile.gettempdir()) / "reliq-chaos"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Break reliq on purpose, and judge every job."""


def play(scenario: Scenario, options: Options, console: Console, directory: Path) -> Verdict:
    """Play one run with a progress bar; judge it, and write its report into the directory."""
    with progress(console, options.minutes) as bar:

        def shown(phase: str, run: Run) -> None:
            bar.update(
                phase=phase,
                sent=run.producer.sent,
                done=run.collector.done(),
                faults=sum(run.stage.fired.values()),
                pods=len(run.stage.ready()),
            )

        with Run(scenario, options, directory, shown) as run:
            run.play()
    with Ledger(directory / "ledger.sqlite", read_only=True) as ledger:
        verdict = judge(ledger)
        show(ledger, verdict, console)
        page = write(ledger, verdict, directory)
    console.print(f"report: {page}")
    return verdict


@cli.command()
@click.argument("name", metavar="SCENARIO", type=click.Choice(sorted(SCENARIOS)))
@click.option("--seed", type=int, help="Where the dice begin; drawn and printed if not given.")
@click.option("--minutes", type=click.FloatRange(min=0.05), default=1.0, show_default=True)
@click.option("--jobs", type=click.IntRange(min=1), help="How many jobs; by default the scenario's rate says.")
@click.option("--pods", type=click.IntRange(min=1, max=64))
@click.option("--directory", type=click.Path(file_okay=False, path_type=Path), help="Where the run's files go.")
def run(  # noqa: PLR0917 - click passes them by name
    name: str, seed: int | None, minutes: float, jobs: int | None, pods: int | None, directory: Path | None
) -> None:
    """Play a scenario. Exit code 0: it counts, and nothing was found."""
    seed = secrets.randbelow(2**31) if seed is None else seed
    console = Console()
    place = directory or RUNS / f"{name}-{seed}-{int(time.time())}"
    place.mkdir(parents=True, exist_ok=True)
    console.print(f"{name}, seed {seed}, in {place}")
    try:
        verdict = play(SCENARIOS[name], Options(seed=seed, minutes=minutes, jobs=jobs, pods=pods), console, place)
    except StageError as error:
        raise click.ClickException(str(error)) from None
    sys.exit(0 if verdict.ok else 1)


@cli.command("play-one", hidden=True)
@click.argument("name", type=click.Choice(sorted(PLAYS)))
@click.option("--mutant")
@click.option("--seed", type=int, required=True)
@click.option("--minutes", type=float, required=True)
@click.option("--directory", type=click.Path(file_okay=False, path_type=Path), required=True)
def play_one(name: str, mutant: str | None, seed: int, minutes: float, directory: Path) -> None:
    """Play one mutant, or the unbroken build, and write verdict.json: one step of the hunt."""
    code = build(by_name([mutant])[0], directory) if mutant else ROOT
    with Run(PLAYS[name], Options(seed=seed, minutes=minutes, code=code), directory) as one:
        one.play()
    with Ledger(directory / "ledger.sqlite", read_only=True) as ledger:
        verdict = judge(ledger)
    findings = {check.name: len(check.findings) for check in verdict.checks if check.findings}
    text = json.dumps({"findings": findings, "void": verdict.void, "first": [str(f) for f in verdict.findings[:20]]})
    (directory / "verdict.json").write_text(text, encoding="utf-8")


@cli.command()
@click.argument("names", nargs=-1, metavar="[MUTANT]...")
@click.option("--seed", type=int, help="Where the dice begin; drawn and printed if not given.")
@click.option("--at-once", type=click.IntRange(min=1), default=2, show_default=True, help="Plays at the same time.")
@click.option("--controls/--no-controls", default=True, help="Also play the unbroken build, which has to be clean.")
def mutants(names: tuple[str, ...], seed: int | None, at_once: int, *, controls: bool) -> None:
    """Play broken builds. Exit code 0: each was found, and the unbroken one is clean."""
    try:
        chosen = by_name(names)
    except KeyError as error:
        raise click.UsageError(f"there is no mutant {error}; there are {', '.join(m.name for m in MUTANTS)}") from None
    sys.exit(0 if hunted(chosen, seed, Console(), at_once=at_once, controls=controls) else 1)


def hunted(
    chosen: list[Mutant], seed: int | None, console: Console, *, at_once: int = 2, controls: bool = True
) -> bool:
    """Hunt, say what was found, and return whether all went as it must."""
    seed = secrets.randbelow(2**31) if seed is None else seed
    console.print(f"{len(chosen)} mutants, seed {seed}")

    def told(catch: Catch) -> None:
        how = ", ".join(f"{check} ({count})" for check, count in catch.findings.items()) or "nothing found"
        word = "ok" if catch.ok else "NOT FOUND" if catch.wanted else "NOT CLEAN"
        console.print(f"{word:9} {catch.name:20} {catch.scenario:8} {catch.seconds:4.0f} s  {how}", highlight=False)
        for line in [*catch.void, *catch.trouble.splitlines()]:
            console.print(f"          {line}", highlight=False, markup=False)

    catches = hunt(chosen, seed, at_once=at_once, controls=controls, told=told)
    return all(catch.ok for catch in catches)


@cli.command("list")
def list_() -> None:
    """List the scenarios and the faults."""
    table = Table("scenario", "what", "faults", box=None)
    for scenario in SCENARIOS.values():
        table.add_row(scenario.name, scenario.what, ", ".join(scenario.faults))
    Console().print(table)
