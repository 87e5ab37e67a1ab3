"""The worker of `reliq bench`: a real `reliq worker`, in a session of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import click

from reliq.cli.bench.jobs import QUEUE

STOPPING = 15.0
"""Seconds for an orderly end; nothing runs any more by then."""


class Worker:
    """Runs during the `with` block."""

    def __init__(self, url: str, namespace: str, folder: Path, *, processes: int, concurrency: int) -> None:
        self._log = folder / "worker.log"
        command = [sys.executable, "-m", "reliq", "worker", "-A", "reliq.cli.bench.jobs:app", "-q", QUEUE]
        command += ["--url", url, "--namespace", namespace, "--processes", str(processes), "-c", str(concurrency)]
        command += ["--log-level", "WARNING", "--pidfile", str(folder / "worker.pid")]
        # Default settings, whatever the user's environment and working directory say.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RELIQ_")}
        environment["TMPDIR"] = str(folder)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raise ClickException if it has ended by itself."""
        if self._process.poll() is not None:
            raise click.ClickException(f"the worker ended by itself: {self.last_words()}")

    def last_words(self) -> str:
        """Return the last line of its log."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return lines[-1] if lines else "no word in its log"

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
