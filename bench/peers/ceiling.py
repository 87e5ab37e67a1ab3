"""The ceiling: reliq's script without reliq's worker."""

from __future__ import annotations

from bench.peers.reliq import Reliq


class Ceiling(Reliq):
    """bench.bare: claims and settles in turns as large as the worker's were seen to be, and runs nothing.

    Settled: as reliq.
    """

    name = "ceiling"
    mode = "bench.bare: reliq's script over one socket, two turns on their way; claims and settles, runs nothing"
    rows = frozenset({"drain-1"})
    runs_jobs = False
    turn = 100
    """Jobs per turn."""
    depth = 2
    """Turns on their way at a time."""

    @property
    def title(self) -> str:
        return "bare loop, no worker"

    def worker(self, *, processes: int, threads: int, url: str) -> list[list[str]]:
        return [[str(self.installed.program), "-m", "bench.bare", url, str(self.turn), str(self.depth)]]

    def producer(self) -> list[str]:
        return [str(self.installed.program), "-m", "bench.apps.producer", "bench.apps.reliq_app"]
