"""The job of `bench.recovery`: says that it has begun, and lasts until it is told to end."""

from __future__ import annotations

import os
import time
from pathlib import Path

from reliq import Reliq

app = Reliq()


@app.job(queue="bench")
def hold(folder: str) -> None:
    """Write one line per start, then wait for a file named `end`."""
    with Path(folder, "starts").open("a", encoding="ascii") as file:
        file.write(f"{time.time()} {os.getpid()}\n")
    while not Path(folder, "end").exists():
        time.sleep(0.005)
