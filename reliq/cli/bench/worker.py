"""The worker of `reliq bench`: a real `reliq worker`, in a session of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import click

from reliq.cli.bench.jobs import QUEUE
from reliq.cli.program import STOPPING, last_words, start_worker


class Worker:
    """Runs during the `with` block."""

    def __init__(self, url: str, namespace: str, folder: Path, *, processes: int, concurrency: int) -> None:
        self._log = folder / "worker.log"
        options = ["-A", "reliq.cli.bench.jobs:app", "-q", QUEUE, "--url", url, "--namespace", namespace]
        options += ["--processes", str(processes), "-c", str(concurrency), "--log-level", "WARNING"]
        self._process = start_worker(self._log, *options)

    def check(self) -> None:
        """Raise ClickException if it has ended by itself."""
        if self._process.poll() is not None:
            raise click.ClickException(f"the worker ended by itself: {self.last_words()}")

    def last_words(self) -> str:
        """Return the last line of its log."""
        return last_words(self._log)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOPPING)
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
