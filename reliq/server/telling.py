"""Telling: what a worker process says of itself in Redis, for scalers, for Sidekiq's view, and in timelines."""

from __future__ import annotations

from collections.abc import Iterable

from reliq.clock import Clock
from reliq.outcome import Bury, Drop, Retry
from reliq.server.counts import OUTCOMES
from reliq.server.executor.run import Run
from reliq.server.executor.threads import Threads
from reliq.server.intake import Intake
from reliq.server.view import work_of
from reliq.store.claims import Ending
from reliq.store.opening import Store
from reliq.store.processes import Processes
from reliq.store.timeline import Event, Timelines


class Telling:
    """Says every so many seconds what runs, and how long jobs run; and what became of the jobs with a timeline."""

    def __init__(self, threads: Threads, intake: Intake, clock: Clock, store: Store) -> None:
        self._threads = threads
        self._intake = intake
        self._clock = clock
        self._every = store.config.beat
        self._timelines = Timelines(store.config, store.keys)
        self._events: list[tuple[str, Event]] = []
        self._begun: set[int] = set()  # runs whose start is told, by id: they live as long as they run
        self._told_at = 0.0
        self._shown = False

    def ended(self, ended: Iterable[tuple[Run, Ending]], identity: str) -> None:
        """Take note of runs that ended, for the timelines; those of another identity than this one ended too late."""
        if not self._timelines.on:
            return
        for run, ending in ended:
            if not self._timelines.chosen(ending.jid):
                continue
            self._start(run, ending.jid)
            self._begun.discard(id(run))
            outcome = ending.outcome
            what = OUTCOMES[type(outcome)] if ending.claim.identity == identity else "late"
            text = outcome.error if isinstance(outcome, Retry | Bury | Drop) else ""
            self._note(run, ending.jid, what, self._wall(run.begun + run.took), seconds=run.took, text=text)

    def _start(self, run: Run, jid: str) -> None:
        if id(run) not in self._begun:
            self._begun.add(id(run))
            self._note(run, jid, "started", self._wall(run.begun))

    def _note(self, run: Run, jid: str, what: str, at: float, *, seconds: float | None = None, text: str = "") -> None:
        attempt = run.log_fields()["attempt"]
        identity = run.claim.identity
        event = Event(at=at, what=what, identity=identity, queue=run.queue, attempt=attempt, seconds=seconds, text=text)
        self._events.append((jid, event))

    def _wall(self, mono: float) -> float:
        return self._clock.wall() - self._clock.mono() + mono

    def tell_timelines(self, processes: Processes) -> None:
        """Write down what has happened since the last time. Raises Unreachable; then that is forgotten."""
        if self._events:
            events, self._events = self._events, []
            self._timelines.write(processes.link, events)

    def tell(self, processes: Processes, identity: str, now: float) -> None:
        """Tell, if it is time (monotonic clock). Raises StoreError."""
        self.tell_timelines(processes)
        if now - self._told_at < self._every:
            return
        self._told_at = now
        processes.show_pace(self._intake.ran(), self._clock.wall())
        runs = [run for run in self._threads.runs() if run.thread is not None]
        if self._timelines.on:
            for run in runs:
                if self._timelines.chosen(jid := run.jid):
                    self._start(run, jid)
        if runs or self._shown:
            processes.show_work(identity, work_of(runs))
            self._shown = bool(runs)
