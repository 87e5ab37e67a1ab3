"""How a run is getting on, while it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from chaos.report.words import clock as spoken

LINE_EVERY = 30.0
"""Seconds, at the least, between two lines where there is no terminal."""


class Progress:
    """A bar on a terminal; elsewhere a plain line every half minute. Use it in a `with`."""

    def __init__(self, console: Console, minutes: float, clock: Callable[[], float]) -> None:
        self._console = console
        self._seconds = minutes * 60
        self._clock = clock
        self._began = clock()
        self._spoke: float | None = None
        self._bar: Bar | None = None
        if console.is_terminal:
            columns = (_column("phase"), BarColumn(bar_width=None), _column("facts"), _column("times"))
            self._bar = Bar(*columns, console=console, expand=True)
            self._task = self._bar.add_task("", total=self._seconds, phase="", facts="", times="")

    def __enter__(self) -> Self:
        self._began = self._clock()
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, *, phase: str, sent: int, done: int, faults: int, pods: int) -> None:
        """Say where the run is: its phase, as `warm-up`, `faults`, `drain`, and what has come about so far."""
        now = self._clock()
        elapsed = now - self._began
        facts = f"{done:,}/{sent:,} jobs  {faults:,} faults  {pods:,} pods"
        left = max(0.0, self._seconds - elapsed)
        times = f"{spoken(elapsed)}, {spoken(left)} left" if left else spoken(elapsed)
        if self._bar is not None:
            self._bar.update(self._task, completed=elapsed, phase=phase, facts=facts, times=times)
        elif self._spoke is None or now - self._spoke >= LINE_EVERY:
            self._spoke = now
            self._console.print(f"{phase}  {facts}  {times}", markup=False, highlight=False, soft_wrap=True)


def progress(console: Console, minutes: float, *, clock: Callable[[], float] = time.monotonic) -> Progress:
    """Show how a run of so many minutes is getting on, as long as the `with` lasts."""
    return Progress(console, minutes, clock)


def _column(field: str) -> TextColumn:
    return TextColumn(f"{{task.fields[{field}]}}", markup=False)
