"""What people see: a progress bar on a terminal, lines elsewhere; and the tables at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from reliq.cli.demo.proof import Again, Effect, Proof

EVERY = 5.0
"""Seconds between two lines about the progress, where there is no bar."""

MOST = 40
"""Rows of jobs that ran twice."""


class Screen:
    """Tells what happens, with the seconds since the beginning."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._began = time.monotonic()
        self._next = EVERY
        self._progress: Progress | None = None
        self._task = TaskID(0)

    @contextmanager
    def live(self) -> Iterator[None]:
        """Keep the bar at the bottom of the terminal meanwhile."""
        if not self._console.is_terminal:
            yield
            return
        columns = (TextColumn("jobs done"), BarColumn(50), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console, transient=True) as progress:
            self._task = progress.add_task("", total=self._total)
            self._progress = progress
            yield
        self._progress = None

    def show(self, done: int) -> None:
        """Show how many jobs are done."""
        if self._progress is not None:
            self._progress.update(self._task, completed=done)
        elif time.monotonic() - self._began >= self._next:
            self._next += EVERY
            self.say(f"{done:,} of {self._total:,} jobs are done")

    def say(self, text: str) -> None:
        """Say what happened just now."""
        self._console.print(f"{time.monotonic() - self._began:5.1f} s  {text}", highlight=False, soft_wrap=True)


def report(console: Console, proof: Proof, root: Path, *, superfetch: bool) -> None:
    """Print the tables and the verdict; `root` is the folder of the files."""
    console.print()
    for table in (_kills(proof.effects), _twice(proof.again, root), _sums(proof)):
        if table.row_count:
            console.print(table)
            console.print()
    problems = proof.problems()
    if problems:
        verdict = f"[bold red]FAIL[/]  {'; '.join(problems)}."
    else:
        verdict = (
            f"[bold green]PASS[/]  Nothing is lost: each of {len(proof.files):,} files has one accepted result, "
            f"Redis has nothing left to do, and each of {len(proof.again)} further runs is due to a kill."
        )
    if proof.lost and not superfetch:
        verdict += (
            " BRPOP takes a job out of Redis before it runs: when the worker dies, nobody has the job any more. "
            "Without --no-superfetch the same kills lose nothing."
        )
    console.print(f"{verdict} ({proof.seconds:.1f} s)", highlight=False)


def seconds(value: float) -> str:
    """Return a time for people."""
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def _sums(proof: Proof) -> Table:
    table = Table.grid(padding=(0, 3))
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="dim")
    status = proof.status
    twice = {again.run.file for again in proof.again}
    refused = sum(1 for run in proof.runs if run.refused)
    killed = [again for again in proof.again if again.kill is not None]
    cut = sum(1 for again in killed if again.before.ended is None)
    why = f"killed while they ran: {cut}, between result and ack: {len(killed) - cut}"
    lost = f"[bold]{proof.lost:,}[/]" if not proof.lost else f"[bold red]{proof.lost:,}[/]"
    table.add_row("files", f"{len(proof.files):,}", "one job each")
    table.add_row("jobs done", f"{len(proof.results):,}", f"{sum(proof.results.values()):,} lines hashed and counted")
    table.add_row("jobs recovered", f"{len(killed):,}", "put back when their process was killed, and run again")
    table.add_row("jobs run twice", f"{len(twice):,}", why)
    table.add_row("  unexplained", f"{len(proof.unexplained):,}", "runs that no kill is the reason of")
    table.add_row("  refused", f"{refused:,}", "results, by the unique key of the ledger")
    table.add_row("left in Redis", f"{proof.undone:,}", f"waiting, held, to be retried or dead ({status.dead:,})")
    table.add_row("[bold]lost[/]", lost, "without a result, and in Redis no more")
    return table


def _kills(effects: list[Effect]) -> Table:
    table = Table("kill -9 of", box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for title in ("jobs hit", "run again", "lost", "median", "worst"):
        table.add_column(title, justify="right")
    for effect in effects:
        times = ("-", "-") if effect.times is None else tuple(map(seconds, effect.times))
        gone = f"{effect.outstanding}" if not effect.outstanding else f"[red]{effect.outstanding}[/]"
        table.add_row(effect.kill.what, str(len(effect.cut)), str(len(effect.again)), gone, *times)
    return table


def _twice(again: list[Again], root: Path) -> Table:
    table = Table("run twice", "why", box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("again after", justify="right")
    for one in again[:MOST]:
        if one.kill is None:
            why = "[red]nothing explains it[/]"
        else:
            when = "cut off in" if one.before.ended is None else "not acknowledged by"
            why = f"{when} process {one.before.pid}"
        table.add_row(os.path.relpath(one.run.file, root), why, seconds(one.after))
    if len(again) > MOST:
        table.add_row(f"and {len(again) - MOST} more", "", "")
    return table
