"""An application whose jobs write down in a ledger what they did: `-A tests.support.jobs:app`.

Every job takes a `key` as its last argument, anything by which a test tells its jobs apart.
"""

import asyncio
import ctypes
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reliq import Reliq, current_attempt
from tests.support.ledger import VARIABLE, Event, append, now

app = Reliq()

bare = Reliq()
"""An application that knows no job at all: an older version of the program, in a rolling deploy."""

STEP = 0.005
"""Seconds that a patient job sleeps at a time: so soon it hears of an interrupt."""


def record(what: str, key: Any, *, ask: bool = False, note: Any = None) -> None:
    """Write down one event of the running job; `ask` for its crashes and its fence number too."""
    attempt = current_attempt()
    append(
        Event(
            what=what,
            at=now(),
            name=attempt.name,
            jid=attempt.jid,
            key=key,
            queue=attempt.queue,
            attempt=attempt.attempt,
            pid=os.getpid(),
            identity=attempt.identity,
            crashes=attempt.crashes if ask else None,
            fence=attempt.fence if ask else None,
            note=note,
        )
    )


@contextmanager
def recorded(key: Any, *, ask: bool = False) -> Iterator[None]:
    """Write down start and end: finish, interrupted (by reliq), or raised."""
    record("start", key, ask=ask)
    try:
        yield
    except BaseException as error:
        kind = type(error).__name__
        record("interrupted" if kind in ("JobInterrupted", "CancelledError") else "raised", key, note=kind)
        raise
    record("finish", key)


@app.job
def quick(key: Any = None) -> None:
    """Return at once."""
    with recorded(key):
        pass


@app.job
def slow(seconds: float, key: Any = None) -> None:
    """Take its time in small steps: an interrupt comes through at once."""
    with recorded(key):
        until = now() + seconds
        while now() < until:
            time.sleep(STEP)


def wait_for_gate(gate: str) -> None:
    """Until the test calls `Fleet.open(gate)`."""
    path = Path(os.environ[VARIABLE]).with_name(f"gate-{gate}")
    while not path.exists():
        time.sleep(STEP)


@app.job
def gated(gate: str, key: Any = None) -> None:
    """Run until the test opens the gate; asks for crashes and fence."""
    with recorded(key, ask=True):
        wait_for_gate(gate)


@app.job
def sleepy(seconds: float, key: Any = None) -> None:
    """Sleep inside C, in one piece: no interrupt comes through."""
    with recorded(key):
        time.sleep(seconds)


@app.job
def swallow(seconds: float, key: Any = None) -> None:
    """Catch whatever is raised in it, note it, and go on."""
    with recorded(key):
        until = now() + seconds
        while now() < until:
            try:
                while now() < until:
                    time.sleep(STEP)
            except BaseException as error:  # noqa: BLE001 - the job is about this
                record("swallowed", key, note=type(error).__name__)


@app.job
def hold(seconds: float, key: Any = None) -> None:
    """Hold the interpreter lock inside C."""
    with recorded(key):
        ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))


@app.job
def linger(seconds: float, key: Any = None) -> None:
    """Return at once, and leave a thread behind that goes on."""
    with recorded(key):
        threading.Thread(target=time.sleep, args=(seconds,)).start()


@app.job
def hog(key: Any = None) -> None:
    """Take memory until there is no more."""
    kept = []
    with recorded(key):
        while True:
            kept.append(bytearray(b"x") * (1 << 20))


@app.job
async def patient(seconds: float, key: Any = None) -> None:
    """Wait in the event loop, in one piece."""
    with recorded(key):
        await asyncio.sleep(seconds)


@app.job
def fail(message: str = "no", key: Any = None) -> None:
    """Raise ValueError, always."""
    with recorded(key):
        raise ValueError(message)


@app.job
def fail_times(times: int, key: Any = None) -> None:
    """Raise ValueError in the first `times` attempts."""
    with recorded(key):
        if current_attempt().attempt <= times:
            raise ValueError(f"attempt {current_attempt().attempt}")


class Mute(Exception):
    """An error that cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


@app.job
def raises(kind: str, key: Any = None) -> None:
    """Raise an error of this kind, also of those that are no Exception."""
    kinds: dict[str, BaseException] = {
        "SystemExit": SystemExit(3),
        "KeyboardInterrupt": KeyboardInterrupt(),
        "BaseException": BaseException("base"),
        "GeneratorExit": GeneratorExit(),
        "Mute": Mute(),
        "MemoryError": MemoryError("much"),
        "Group": BaseExceptionGroup("some", [ValueError("one"), KeyboardInterrupt()]),
        "CancelledError": asyncio.CancelledError(),
        "Huge": ValueError("x" * 20_000_000),
        "Surrogate": ValueError("lone \ud800 surrogate"),
    }
    record("start", key)
    raise kinds[kind]


@app.job
async def async_raises(kind: str, key: Any = None) -> None:
    """The same in a coroutine."""
    raises(kind, key)


@app.job
def crash(key: Any = None) -> None:
    """Kill the process that runs it."""
    record("start", key, ask=True)
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


@app.job
def crash_times(times: int, key: Any = None) -> None:
    """Kill the process that runs it, until so many crashes are on its record."""
    with recorded(key, ask=True):
        if current_attempt().crashes < times:
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)


@app.job
def leave(code: int = 0, key: Any = None) -> None:
    """End the process without a word."""
    record("start", key)
    os._exit(code)


@app.job("Timed", timeout=0.3)
def timed(seconds: float, key: Any = None) -> None:
    """As slow, with 0.3 s to do it in."""
    slow(seconds, key)


@app.job(timeout=0.3)
async def async_timed(seconds: float, key: Any = None) -> None:
    """As patient, with 0.3 s to do it in."""
    await patient(seconds, key)


@app.job(retry=0)
def once(key: Any = None) -> None:
    """Fail, and straight to the dead set with it."""
    fail("once", key)


@app.job(retry=False)
def never_again(key: Any = None) -> None:
    """Fail, and be forgotten."""
    fail("never again", key)


@app.job
def says(text: str, key: Any = None) -> None:
    """Log a line."""
    with recorded(key):
        logging.getLogger(__name__).warning(text)


@app.job
async def async_says(text: str, key: Any = None) -> None:
    """The same in a coroutine, after a wait."""
    with recorded(key):
        await asyncio.sleep(STEP)
        logging.getLogger(__name__).warning(text)
