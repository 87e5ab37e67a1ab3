"""Telling: what a worker process says of itself in Redis, for scalers and for Sidekiq's view."""

from __future__ import annotations

from reliq.clock import Clock
from reliq.server.executor.threads import Threads
from reliq.server.intake import Intake
from reliq.server.view import work_of
from reliq.store.processes import Processes


class Telling:
    """Says every so many seconds what runs, and how long jobs run."""

    def __init__(self, threads: Threads, intake: Intake, clock: Clock, every: float) -> None:
        self._threads = threads
        self._intake = intake
        self._clock = clock
        self._every = every
        self._told_at = 0.0
        self._shown = False

    def tell(self, processes: Processes, identity: str, now: float) -> None:
        """Tell, if it is time (monotonic clock). Raises StoreError."""
        if now - self._told_at < self._every:
            return
        self._told_at = now
        processes.show_pace(self._intake.ran(), self._clock.wall())
        runs = [run for run in self._threads.runs() if run.thread is not None]
        if runs or self._shown:
            processes.show_work(identity, work_of(runs))
            self._shown = bool(runs)
