"""The command `reliq demo`."""

from __future__ import annotations

import os
import platform
import random
import shutil
import sysconfig
import tempfile
from pathlib import Path

import click
from rich.console import Console

from reliq.cli.demo.play import Plan, Play
from reliq.cli.demo.pods import PROCESSES, THREADS
from reliq.cli.demo.screen import Screen, report

FOREIGN = {"site-packages", "dist-packages", "__pycache__"}
"""Folders below the standard library that are not of it."""

DEADLINE = 120.0
"""Seconds, if no others are given."""


@click.command()
@click.option("--superfetch/--no-superfetch", default=True, help="Or plain BRPOP: the same kills, and jobs are lost.")
@click.option("--seed", type=int, help="Of the order of the files, the victims and the moments.")
@click.option("--jobs", "limit", type=click.IntRange(min=1), help="Take only so many files.")
@click.option("--keep", is_flag=True, help="Keep the folder with the ledger and the logs, and say where it is.")
@click.option(
    "--deadline", type=click.FloatRange(1.0), default=DEADLINE, show_default=True, help="Seconds until it gives up."
)
def demo(*, superfetch: bool, seed: int | None, limit: int | None, keep: bool, deadline: float) -> int:
    """Kill workers under load, and prove that no job is lost.

    Starts a server and two workers of its own, enqueues one job for each file of Python's standard library, and
    kills with SIGKILL first one worker process, then a whole worker with its supervisor. Takes half a minute and
    leaves nothing behind.

    Exit code 0: the ledger, a SQLite file with a unique key, proves that each job has exactly one result and that
    every further run is due to a kill. 1: it does not; with --no-superfetch, it should not.
    """
    root, sizes = _files()
    seed = random.randrange(10_000) if seed is None else seed
    chosen = random.Random(seed).sample(sorted(sizes), min(limit or len(sizes), len(sizes)))
    console = Console(highlight=False)
    fetch = "super_fetch" if superfetch else "BRPOP (--no-superfetch)"
    console.print(
        f"{len(chosen):,} files of Python {platform.python_version()}'s standard library, {root}\n"
        f"2 pods of {PROCESSES} processes with {THREADS} threads each, {fetch}, seed {seed}\n",
        soft_wrap=True,
    )
    folder = Path(tempfile.mkdtemp(prefix="reliq-demo-"))
    try:
        screen = Screen(console, len(chosen))
        plan = Plan(sizes={file: sizes[file] for file in chosen}, seed=seed, superfetch=superfetch, deadline=deadline)
        with screen.live():
            proof = Play(plan, folder, screen).run()
        report(console, proof, root, superfetch=superfetch)
        return 1 if proof.problems() else 0
    finally:
        if keep:
            console.print(f"kept: {folder} (ledger.sqlite, pod-*.log, server/)", soft_wrap=True)
        else:
            shutil.rmtree(folder)


def _files() -> tuple[Path, dict[str, int]]:
    """Return the folder of the standard library and the size in bytes of each of its .py files."""
    root = Path(sysconfig.get_path("stdlib"))
    sizes = {
        str(path): path.stat().st_size
        for path in root.rglob("*.py")
        if not FOREIGN & set(path.parts) and path.is_file() and os.access(path, os.R_OK)
    }
    if not sizes:
        raise click.ClickException(f"there are no .py files in {root}: this Python comes without its library's source")
    return root, sizes
