"""The `reliq worker` that a command starts beside itself: `reliq demo` kills it, `reliq bench` measures it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

STOPPING = 15.0
"""Seconds for an orderly end; nothing runs any more by then."""


def start_worker(log: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start a worker in a session and process group of its own. It works where its log is; its pid file is there, too.

    It has default settings and these options, whatever the user's environment and working directory say.
    """
    folder = log.parent
    command = [sys.executable, "-m", "reliq", "worker", *options, "--pidfile", str(log.with_suffix(".pid"))]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RELIQ_")}
    # A killed Python leaves multiprocessing's temporary folders behind.
    environment["TMPDIR"] = str(folder)
    with log.open("wb") as file:
        return subprocess.Popen(  # noqa: S603
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


def last_words(log: Path) -> str:
    """Return the last line of a log that is not empty."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no word in its log")
