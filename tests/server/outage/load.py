"""Producers under trouble, and the account of every single job afterwards."""

import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from chaos.eventually import eventually
from reliq.errors import Refused, Unreachable
from tests.support.fleet import Fleet

PAUSE = 0.004
"""Seconds between two jobs of one producer: some hundred jobs a second are load enough for two cores."""


def dice() -> random.Random:
    """Random numbers whose seed is printed."""
    seed = random.randrange(2**32)
    sys.stdout.write(f"seed {seed}\n")
    return random.Random(seed)


def pass_time(seconds: float) -> None:
    """Let an outage last so long: what ends it is the clock."""
    until = time.monotonic() + seconds
    eventually(lambda: time.monotonic() >= until, seconds + 5)


class Load:
    """Producers in threads. Every job has a key of its own; afterwards each is acknowledged, refused, or in doubt."""

    def __init__(self, fleet: Fleet, producers: int = 2) -> None:
        self.fleet = fleet
        self.acknowledged: dict[str, str] = {}  # key -> jid
        self.refused: list[str] = []
        self.doubtful: list[str] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._produce, args=(n,), name=f"p{n}") for n in range(producers)]

    def _produce(self, number: int) -> None:
        count = 0
        while not self._over.wait(PAUSE):
            self.send(f"{number}-{count}")
            count += 1

    def send(self, key: str, name: str = "quick", *args: float) -> None:
        """Enqueue one job, and write down what came of it."""
        try:
            self.acknowledged[key] = self.fleet.enqueue(name, *args, key)
        except Refused:
            self.refused.append(key)
        except Unreachable:
            self.doubtful.append(key)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """No more jobs."""
        self._over.set()
        for thread in self._threads:
            thread.join(30)

    def more(self, jobs: int, within: float = 10.0) -> None:
        """Wait until so many more jobs have been acknowledged."""
        wanted = len(self.acknowledged) + jobs
        eventually(lambda: len(self.acknowledged) >= wanted, within, f"{jobs} more jobs are acknowledged")

    def settle(self, within: float = 15.0) -> None:
        """Stop, wait until everything has been settled, and account for each job: exactly one run for an acknowledged
        one, none for a refused one, one or none for one in doubt; none is anywhere any more.
        """
        self.stop()
        fleet = self.fleet
        fleet.done(list(self.acknowledged.values()), within)
        fleet.drained(within=within)
        starts = Counter(event.key for event in fleet.ledger.events("start"))
        finishes = Counter(event.key for event in fleet.ledger.events("finish"))
        wrong = {key: starts[key] for key in self.acknowledged if (starts[key], finishes[key]) != (1, 1)}
        assert not wrong, f"{len(wrong)} of {len(self.acknowledged)} acknowledged jobs did not run once: {wrong}"
        assert not [key for key in self.refused if starts[key]], "a refused job ran"
        assert not {key: starts[key] for key in self.doubtful if starts[key] > 1}, "a job in doubt ran twice"
        assert fleet.jids("retry") == []
        assert fleet.jids("dead") == []
        # Counted in the same step that settles: once per job, whatever replies were lost.
        eventually(lambda: fleet.stat("processed") == sum(finishes.values()), 5.0, "each job was counted once")


@contextmanager
def nobody_dies(fleet: Fleet) -> Iterator[None]:
    """All who are in the fleet now are there in the end, under their identities, and nobody has joined."""
    before = {identity for pod in fleet.pods for identity in pod.identities()}
    yield
    eventually(lambda: {i for pod in fleet.pods for i in pod.identities()} == before, 5.0, "the same fleet as before")
    assert set(fleet.entries()) == before
    assert fleet.client.hlen("suspects") == 0
    assert fleet.client.hlen("crashes") == 0
    assert not [pod.name for pod in fleet.pods if pod.logged("is dead") or pod.logged("declared dead")]
