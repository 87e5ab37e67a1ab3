"""The application of `reliq demo`: one job, which measures a file and writes the result into the ledger."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from reliq.app import Reliq
from reliq.attempt import current_attempt
from reliq.cli.demo.ledger import Ledger

app = Reliq()


def pause(size: int) -> float:
    """Return the seconds that the job of a file of `size` bytes waits, where a real job waits for a network."""
    return min(1.0, 0.02 + size / 120_000)


@app.job(retry=0)
def measure(file: str, ledger: str) -> None:
    """Hash and count one file. Idempotent by the ledger's unique key: of two runs one result is accepted."""
    with Ledger(Path(ledger)) as book:
        run = book.start(file, current_attempt())
        content = Path(file).read_bytes()
        time.sleep(pause(len(content)))
        book.end(run, file, hashlib.sha256(content).hexdigest(), content.count(b"\n"))
