"""`python -m chaos`: run, list, report, replay, mutants, points, sweep."""

from __future__ import annotations

import json
import secrets
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from chaos.conductor import Options, Run
from chaos.faults import ALL
from chaos.ledger import Ledger
from chaos.mutants.build import build
from chaos.mutants.catalogue import MUTANTS, PLAYS
from chaos.mutants.hunt import by_name
from chaos.oracle import judge
from chaos.pods.kubecall import KubectlError
from chaos.pods.local import ROOT
from chaos.points import WAYS
from chaos.points import points as every_point
from chaos.report import write
from chaos.report.terminal import Progress, progress, show
from chaos.revisions import last_tag
from chaos.scenarios import SCENARIOS, Scenario, left_out
from chaos.sites.base import StageError
from chaos.sites.kubectl import ClusterSite, Kubernetes
from chaos.sites.options import site_options
from chaos.sweep import all_well, crash_points, hunt, random_runs
from chaos.verdict import VOID, Verdict

RUNS = Path(tempfile.gettempdir()) / "reliq-chaos"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Break reliq on purpose, and judge every job."""


def play(
    scenario: Scenario, options: Options, console: Console, directory: Path, where: Kubernetes | None = None
) -> Verdict:
    """Play one run with a progress bar; judge it, and write its report into the directory. Errors: ClickException."""
    directory.mkdir(parents=True, exist_ok=True)
    if (directory / "ledger.sqlite").exists():
        raise click.ClickException(f"{directory} holds a run already; name another one with --directory")
    console.print(f"{scenario.name}, seed {options.seed}, in {directory}", highlight=False)
    try:
        site = None if where is None else ClusterSite(where)
        if site is not None and (left := without(left_out(scenario, site.offers))):
            console.print(left, highlight=False)
        with (
            progress(console, options.minutes) as bar,
            Run(scenario, options, directory, partial(_shown, bar), site) as one,
        ):
            one.play()
    except (StageError, KubectlError) as error:
        raise click.ClickException(str(error)) from None
    return told(directory, console)


def without(lacks: dict[str, frozenset[str]]) -> str:
    """Say in one line which faults are left out, and what they would need; nothing if none is."""
    by_need = defaultdict(list)
    for name, missing in lacks.items():
        by_need[", ".join(sorted(missing))].append(name)
    return "left out: " + "; ".join(f"{', '.join(names)} ({need})" for need, names in by_need.items()) if lacks else ""


def _shown(bar: Progress, phase: str, one: Run) -> None:
    bar.update(
        phase=phase,
        sent=one.producer.sent,
        done=one.collector.done(),
        faults=one.stage.count,
        pods=len(one.stage.ready()),
    )


def told(directory: Path, console: Console) -> Verdict:
    """Judge a run, show what came of it, and write its report. Errors: ClickException."""
    if not (directory / "ledger.sqlite").exists():
        raise click.ClickException(f"{directory} holds no run: its ledger.sqlite is missing")
    with Ledger(directory / "ledger.sqlite", read_only=True) as ledger:
        verdict = judge(ledger)
        show(ledger, verdict, console)
        page = write(ledger, verdict, directory)
    console.print(f"report: {page}", highlight=False)
    return verdict


@contextmanager
def _mutants_place() -> Iterator[Path]:
    # Short, as sockets need it.
    with tempfile.TemporaryDirectory(prefix="reliq-mutants-", dir="/tmp") as place:
        yield Path(place)


def _seed(given: int | None) -> int:
    return secrets.randbelow(2**31) if given is None else given


def _place(name: str, seed: int) -> Path:
    return RUNS / f"{name}-{seed}-{int(time.time())}"


_seed_option = click.option("--seed", type=int, help="Where the dice begin; drawn and printed if not given.")
_at_once_option = click.option(
    "--at-once", type=click.IntRange(min=1), default=3, show_default=True, help="How many plays at the same time."
)
_run_argument = click.argument("run_directory", metavar="RUN", type=click.Path(path_type=Path))


@cli.command()
@click.argument("name", metavar="SCENARIO", type=click.Choice(sorted(SCENARIOS)))
@_seed_option
@click.option("--minutes", type=click.FloatRange(min=0.05), default=1.0, show_default=True)
@click.option(
    "--jobs", type=click.IntRange(min=1), help="How many jobs in that time; by default the scenario's rate says."
)
@click.option("--pods", type=click.IntRange(min=1, max=64))
@click.option("--old", metavar="REVISION", help="What old pods run in a rollout; by default the last tag, if any.")
@click.option("--directory", type=click.Path(file_okay=False, path_type=Path), help="Where the run's files go.")
@site_options
def run(
    *,
    name: str,
    seed: int | None,
    minutes: float,
    jobs: int | None,
    pods: int | None,
    old: str | None,
    directory: Path | None,
    where: Kubernetes | None,
) -> None:
    """Play a scenario. Exit code 0: it counts, and nothing was found; 3: nothing was found, but it does not count."""
    seed = _seed(seed)
    if old is not None and where is not None:
        raise click.UsageError("--old is for --driver local: a cluster runs the image that its Deployment names")
    old = last_tag() if old is None and where is None else old
    options = Options(seed=seed, minutes=minutes, jobs=jobs, pods=pods, old=old or "")
    verdict = play(SCENARIOS[name], options, Console(), directory or _place(name, seed), where)
    sys.exit(0 if verdict.ok else 1 if verdict.findings else VOID)


@cli.command()
@_run_argument
def report(run_directory: Path) -> None:
    """Judge the run in the directory RUN anew, and write its report anew."""
    sys.exit(0 if told(run_directory, Console()).ok else 1)


@cli.command()
@_run_argument
@click.option("--directory", type=click.Path(file_okay=False, path_type=Path), help="Where the new run's files go.")
def replay(run_directory: Path, directory: Path | None) -> None:
    """Play the run in the directory RUN again: the same dice, and each fault at the same time.

    What the processes make of it is up to the machine, so a race may take several replays to show again.
    """
    if not (run_directory / "ledger.sqlite").exists():
        raise click.ClickException(f"{run_directory} holds no run: its ledger.sqlite is missing")
    with Ledger(run_directory / "ledger.sqlite", read_only=True) as ledger:
        settings = ledger.settings()
        plan = tuple((float(at), str(name)) for at, name in ledger.fact("plan", []))
    if settings.driver != "local":
        raise click.ClickException("that run was on a cluster, where nothing can be timed as before: use `run --seed`")
    options = Options(
        seed=settings.seed,
        minutes=settings.minutes,
        jobs=settings.jobs,
        pods=settings.pods,
        old=settings.old,
        plan=plan,
    )
    scenario = {**PLAYS, **SCENARIOS}[settings.scenario]
    verdict = play(scenario, options, Console(), directory or _place(f"{scenario.name}-replay", settings.seed))
    sys.exit(0 if verdict.ok else 1)


@cli.command()
@click.argument("names", nargs=-1, metavar="[PATH]...")
def points(names: tuple[str, ...]) -> None:
    """Crash at every single command of a job's life, in real processes. Exit code 0: nothing was wrong at any."""
    unknown = set(names) - {way.name for way in WAYS}
    if unknown:
        raise click.UsageError(f"there is no path {min(unknown)}; there are {', '.join(way.name for way in WAYS)}")
    sys.exit(0 if crashed(names, Console()) else 1)


def crashed(names: tuple[str, ...], console: Console) -> bool:
    """Go through the crash points, say what was wrong, and return whether nothing was."""
    cases = wrong = 0
    with tempfile.TemporaryDirectory(prefix="reliq-points-", dir="/tmp") as place:
        for case in every_point(Path(place), names):
            cases += bool(case.command)
            wrong += bool(case.wrong)
            if not case.command or case.wrong:
                where = f"number {case.k} ({case.command})" if case.command else f"through after {case.k - 1} commands"
                said = "; ".join(case.wrong) or "ok"
                console.print(f"{case.path:10} {case.mode:6} {where:34} {said}", highlight=False, markup=False)
    console.print(f"{cases} crash points, {wrong} with something wrong", highlight=False)
    return not wrong


@cli.command()
@_seed_option
@click.option("--minutes", type=click.FloatRange(min=0.05), default=0.5, show_default=True, help="Of each random run.")
@_at_once_option
def sweep(seed: int | None, minutes: float, at_once: int) -> None:
    """What CI does: all crash points, all mutants, three random runs. Exit code 0: all is as it must be."""
    console, seed = Console(), _seed(seed)
    console.print(f"sweep, seed {seed}", highlight=False)
    with _mutants_place() as place:
        legs = [crash_points(), *random_runs(seed, minutes), *hunt(MUTANTS, place, seed)]
        sys.exit(0 if all_well(legs, console, at_once) else 1)


@cli.command("play-one", hidden=True)
@click.argument("name", type=click.Choice(sorted(PLAYS)))
@click.option("--mutant")
@click.option("--seed", type=int, required=True)
@click.option("--minutes", type=float, required=True)
@click.option("--directory", type=click.Path(file_okay=False, path_type=Path), required=True)
def play_one(name: str, mutant: str | None, seed: int, minutes: float, directory: Path) -> None:
    """Play one mutant, or the unbroken build, and write verdict.json: one step of the hunt."""
    directory.mkdir(exist_ok=True)
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
@_at_once_option
@click.option("--controls/--no-controls", default=True, help="Also play the unbroken build, which has to be clean.")
def mutants(names: tuple[str, ...], seed: int | None, at_once: int, *, controls: bool) -> None:
    """Play broken builds. Exit code 0: each was found, and the unbroken one is clean."""
    try:
        chosen = by_name(names)
    except KeyError as error:
        raise click.UsageError(f"there is no mutant {error}; there are {', '.join(m.name for m in MUTANTS)}") from None
    console, seed = Console(), _seed(seed)
    console.print(f"{len(chosen)} mutants, seed {seed}", highlight=False)
    with _mutants_place() as place:
        sys.exit(0 if all_well(hunt(chosen, place, seed, controls=controls), console, at_once) else 1)


@cli.command("list")
def list_() -> None:
    """List the scenarios and the faults."""
    scenarios = Table("scenario", "what", "faults", box=None)
    for scenario in SCENARIOS.values():
        scenarios.add_row(scenario.name, scenario.what, ", ".join(scenario.faults))
    faults = Table("fault", "what", box=None)
    for fault in ALL.values():
        faults.add_row(fault.name, fault.what)
    Console().print(scenarios, "", faults)
