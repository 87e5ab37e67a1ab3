"""The producer of a run: a program in the peer's environment that enqueues what it is told to."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.failed import Failed
from bench.programs import launched
from reliq.cli.program import last_words

ENDING = 10.0
"""Seconds from the end of its orders to SIGKILL."""


class Producer:
    """Obeys `order`. Ended at the end of the `with` block. `sent`: how many jobs it has enqueued."""

    def __init__(
        self, command: list[str], folder: Path, environment: dict[str, str], cpus: frozenset[int] | None
    ) -> None:
        self.sent = 0
        self._log = folder / "log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                launched(command, cpus),
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def order(self, do: str, job: str, *, first: int = 0, count: int = 1, **more: Any) -> float:
        """Enqueue `count` jobs from number `first` on; return the seconds that took. Raises Failed."""
        to, back = self._process.stdin, self._process.stdout
        assert to is not None  # noqa: S101 - they are pipes
        assert back is not None  # noqa: S101
        self.sent += count
        try:
            to.write(json.dumps({"do": do, "job": job, "first": first, "count": count, **more}) + "\n")
            to.flush()
            return float(json.loads(back.readline()))
        except (OSError, ValueError):
            raise Failed(f"its producer ended: {last_words(self._log)}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        to, back = self._process.stdin, self._process.stdout
        assert to is not None  # noqa: S101
        assert back is not None  # noqa: S101
        to.close()
        try:
            self._process.wait(ENDING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        back.close()
