"""A small shop's jobs, as an application would write them: `reliq worker -A tests.story.shop:app`.

Its jobs write into a notebook, a file whose path they are given, so that a test can read what really happened.
"""

import asyncio
import os
import signal
import sqlite3
import time
from pathlib import Path

from reliq import Reliq, current_attempt

app = Reliq()
"""Says no URL: RELIQ_URL, or the worker's `--url`, does."""

branch = Reliq(namespace="shop-two")
"""A second shop on the same Redis."""


def write(book: str, line: str) -> None:
    """Add one line to a notebook, in one step."""
    with Path(book).open("a", encoding="utf-8", buffering=1) as file:
        file.write(line + "\n")


def read(book: Path) -> list[str]:
    """The lines of a notebook."""
    return book.read_text(encoding="utf-8").splitlines() if book.exists() else []


@app.job
def welcome(book: str, name: str, template: str = "plain") -> str:
    """The plainest job."""
    write(book, f"welcome {name} ({template})")
    return f"{name} is welcome"


@app.job("SendMail", queue="mailers")
def send_mail(book: str, to: str) -> None:
    """A job whose name and queue are not those of its function."""
    write(book, f"mail to {to}")


@app.job
async def fetch(book: str, url: str) -> None:
    """A coroutine."""
    await asyncio.sleep(0)
    write(book, f"fetched {url}")


@app.job
def pack(book: str, parcel: str, door: str) -> None:
    """Takes until the door, a file, is there; says when it begins, when it is done, and when it is interrupted."""
    attempt = current_attempt()
    write(book, f"begin {parcel}, attempt {attempt.attempt}, crashes {attempt.crashes}, process {os.getpid()}")
    try:
        while not Path(door).exists():
            time.sleep(0.005)
    except BaseException as error:
        write(book, f"{type(error).__name__} in {parcel}")
        raise
    write(book, f"end {parcel}")


@app.job(retry=1)
def charge(book: str, customer: str) -> None:
    """The bank always says no."""
    write(book, f"attempt {current_attempt().attempt} to charge {customer}")
    raise RuntimeError(f"{customer} has no money")


@app.job(retry=0, timeout=0.2)
def think(book: str) -> None:
    """Has 0.2 seconds, and needs more."""
    pack(book, "a thought", "no such door")


@app.job
def misbehave(book: str) -> None:
    """Takes its whole process down, every time."""
    write(book, f"misbehave, crashes {current_attempt().crashes}")
    os.kill(os.getpid(), signal.SIGKILL)


@app.job
def set_price(database: str, item: str, price: int) -> None:
    """Writes only if nobody with a larger fence number has: the example of the README."""
    fence = current_attempt().fence
    with sqlite3.connect(database, timeout=10) as connection:
        connection.execute(
            "UPDATE prices SET price = ?, fence = ? WHERE item = ? AND fence < ?", (price, fence, item, fence)
        )
    connection.close()


@branch.job("welcome")
def welcome_at_branch(book: str, name: str) -> None:
    """The second shop's own job, under the same name."""
    write(book, f"branch welcomes {name}")
