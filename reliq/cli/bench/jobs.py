"""The application of `reliq bench`."""

from __future__ import annotations

import os
import time

from reliq.app import Reliq

QUEUE = "bench"
PARKED = "parked"
"""Where jobs wait that are to appear all at once."""

app = Reliq(queue=QUEUE, retry=False)


@app.job
def noop(number: int) -> None:
    """Do nothing."""


@app.job
def pause(seconds: float) -> None:
    """Wait as for a network."""
    time.sleep(seconds)


@app.job
def stamp(path: str, sent: int) -> None:
    """Append how many nanoseconds ago it was sent; the clock is CLOCK_MONOTONIC, which all processes share."""
    took = time.monotonic_ns() - sent
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{took}\n".encode())
    os.close(file)
