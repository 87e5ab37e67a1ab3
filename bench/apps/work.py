"""What the jobs of all peers do, whoever runs them.

A job that has run is counted in memory: it sets the byte of its number in a map that all processes of the run share.
So a count costs a tenth of a microsecond, no write to any server, and survives a fork per job.

Times are nanoseconds of CLOCK_MONOTONIC, one clock for all processes of the machine.
"""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path

URL = os.environ["BENCH_URL"]
FOLDER = Path(os.environ["BENCH_FOLDER"])
THREADS = int(os.environ["BENCH_THREADS"])
"""How many jobs one process runs at the same time, for peers that take it from their application."""

PAUSE = 0.01
"""Seconds of the input and output that `pause` stands for."""

LOOK = 0.02
"""Seconds between two looks for the end of `hold`."""

with (FOLDER / "ran").open("r+b") as _file:
    _ran = mmap.mmap(_file.fileno(), 0)


def count(number: int) -> None:
    """Do nothing. Like all jobs, counted as the last thing it does."""
    _ran[number] = 1


def pause(number: int) -> None:
    """Wait as for a network."""
    time.sleep(PAUSE)
    _ran[number] = 1


async def apause(number: int) -> None:
    """Wait as for a network, in an event loop."""
    from asyncio import sleep  # noqa: PLC0415 - costs 20 ms, which a peer that forks for each job would pay each time

    await sleep(PAUSE)
    _ran[number] = 1


def stamp(number: int, sent: int) -> None:
    """Write down when it was sent and when it started. Only after that it costs anything."""
    _note("stamps", sent, time.monotonic_ns())
    _ran[number] = 1


def warm(number: int, pid: int | None = None) -> None:
    """Say which process runs jobs, and leave the next one to another process."""
    _note("warm", pid or os.getpid())
    time.sleep(PAUSE)
    _ran[number] = 1


async def awarm(number: int) -> None:
    """Say which process runs jobs, and leave the next one to another process, in an event loop."""
    _note("warm", os.getpid())
    await apause(number)


def hold(token: str) -> None:
    """Say that a run starts, and last until the file `end` is there."""
    _note("holds", token, os.getpid(), time.monotonic_ns())
    while not (FOLDER / "end").exists():
        time.sleep(LOOK)


async def ahold(token: str) -> None:
    """Say that a run starts, and last until the file `end` is there, in an event loop."""
    from asyncio import sleep  # noqa: PLC0415 - as above

    _note("holds", token, os.getpid(), time.monotonic_ns())
    while not (FOLDER / "end").exists():  # noqa: ASYNC110 - the file has no event
        await sleep(LOOK)


def _note(name: str, *words: str | int) -> None:
    # One write to a file opened for appending: lines of several processes do not mix.
    file = os.open(FOLDER / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{' '.join(map(str, words))}\n".encode())
    os.close(file)
