"""One run of one peer: a folder, an empty server, a producer, and workers that are up before anything is measured."""

from __future__ import annotations

import mmap
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from bench.failed import Failed
from bench.peers.peer import Peer
from bench.producers import Producer
from bench.programs import Programs, environment
from bench.server import Place

ROOM = 1 << 20
"""Jobs that can be counted."""

WARM = 1_000_000
"""The number of the first job that only warms a worker up; those that are measured begin at 0."""

BATCH = 5
"""Such jobs per process at a time."""

LOOK = 0.005
"""Seconds between two looks at what is done: the error of every time that is measured so."""

WARMING = 0.05
"""Seconds between two looks at which processes of a new worker have run a job."""

STARTING, RUNNING, SETTLING = 60.0, 300.0, 30.0
"""Seconds until it counts as failed."""


@attrs.frozen(kw_only=True)
class Sizes:
    """How much is run; times are seconds.

    A drain has `jobs` jobs, less for a peer that would need more than `drain` for them. `samples` jobs tell the idle
    latency, `gap` apart, but no more than fit into `idle`. Both workers have been up for `steady` before one is killed;
    `patience`: how long its jobs are then waited for.
    """

    jobs: int = 100_000
    drain: float = 4.0
    enqueue: int = 5_000
    bulk: int = 20_000
    samples: int = 100
    gap: float = 0.03
    idle: float = 30.0
    steady: float = 10.0
    patience: float = 90.0


@attrs.frozen(kw_only=True)
class Stage:
    """What a row needs. Made by `stage`. `spare`: the processors of the producer, None for all."""

    peer: Peer
    place: Place
    sizes: Sizes
    folder: Path
    spare: frozenset[int] | None
    reliable: bool
    counted: mmap.mmap

    @property
    def jobs(self) -> int:
        """How many jobs the peer drains."""
        return max(50, int(min(self.sizes.jobs, self.peer.pace * self.sizes.drain)))

    def producer(self) -> Producer:
        """Start a producer."""
        return Producer(self.peer.producer(), self.folder, self._environment(10), self.spare)

    def worker(self, *, processes: int = 1, threads: int = 10) -> Programs:
        """Start a worker."""
        commands = self.peer.worker(processes=processes, threads=threads, url=self.place.url)
        return Programs(commands, self.folder, self._environment(threads), self.place.cpus)

    def warm(self, worker: Programs, producer: Producer, processes: int = 1, *, finish: bool = True) -> None:
        """Return when so many new processes have run a job.

        With `finish` also nothing is left to do; without, another worker may have taken some jobs, and keep them.
        """
        if not self.peer.runs_jobs:
            self.wait((self.folder / "ready").exists, STARTING, "it is ready", worker)
            return
        known = {line[0] for line in self.lines("warm")}
        first = number = WARM + self.count(WARM, ROOM - WARM)
        until = time.monotonic() + STARTING
        while len({line[0] for line in self.lines("warm")} - known) < processes:
            if time.monotonic() > until or number + BATCH * processes > ROOM:
                raise Failed(f"its worker did not start within {STARTING:g} s; its last words: {worker.last_words()}")
            worker.check()
            if not finish or self.count(first, number - first) >= number - first - BATCH * processes:
                producer.order("each", "warm", first=number, count=BATCH * processes)
                number += BATCH * processes
            time.sleep(WARMING)
        if finish:
            self.wait(lambda: self.count(first, number - first) == number - first, SETTLING, "it is idle", worker)

    def begin(self, worker: Programs) -> int:
        """Return, as soon as a job has run, how many have. Raises Failed."""
        if not self.peer.runs_jobs:
            return 0
        self.wait(lambda: self.count(0, self.jobs) > 0, RUNNING, "a job runs", worker)
        return self.count(0, self.jobs)

    def settle(self, worker: Programs, producer: Producer) -> None:
        """Return when all jobs have run and the server holds nothing of them. Raises Failed."""
        settled = lambda: self.peer.settled(self.place.client, producer.sent)  # noqa: E731
        if not self.peer.runs_jobs:
            self.wait(settled, RUNNING, "all is settled", worker)
            return
        self.wait(lambda: self.count(0, self.jobs) == self.jobs, RUNNING, f"{self.jobs} jobs run", worker)
        self.wait(settled, SETTLING, "all is settled", worker)

    def count(self, first: int, count: int) -> int:
        """Return how many of `count` jobs from number `first` on have run."""
        return count - self.counted[first : first + count].count(0)

    def lines(self, name: str) -> list[list[str]]:
        """Return what jobs have written down under a name, as words."""
        path = self.folder / name
        return [line.split() for line in path.read_text(encoding="ascii").splitlines()] if path.exists() else []

    def wait(self, condition: Callable[[], bool], within: float, why: str, worker: Programs) -> None:
        """Return when the condition holds. Raises Failed."""
        until = time.monotonic() + within
        while not condition():
            if time.monotonic() > until:
                raise Failed(f"not within {within:g} s: {why}; its worker's last words: {worker.last_words()}")
            worker.check()
            time.sleep(LOOK)

    def _environment(self, threads: int) -> dict[str, str]:
        more = self.peer.environment | ({"BENCH_RELIABLE": "1"} if self.reliable else {})
        where = {"BENCH_URL": self.place.url, "BENCH_FOLDER": str(self.folder), "BENCH_THREADS": str(threads)}
        return environment(TMPDIR=str(self.folder), **where, **more)


@contextmanager
def stage(
    peer: Peer, place: Place, sizes: Sizes, spare: frozenset[int] | None = None, *, reliable: bool = False
) -> Iterator[Stage]:
    """Give a stage on an empty server, and clean up after it."""
    place.clear()
    folder = Path(tempfile.mkdtemp(prefix="reliq-bench-"))
    try:
        with (folder / "ran").open("w+b") as file:
            file.truncate(ROOM)
            with mmap.mmap(file.fileno(), 0) as counted:
                yield Stage(
                    peer=peer,
                    place=place,
                    sizes=sizes,
                    folder=folder,
                    spare=spare,
                    reliable=reliable,
                    counted=counted,
                )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
