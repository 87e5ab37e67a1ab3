"""Threads: the default executor. Takes runs from the loop, gives back endings."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from math import inf
from typing import Any

from reliq.errors import Interrupt, JobInterrupted, JobTimeout
from reliq.handlers import Handlers
from reliq.server.executor.run import Run
from reliq.server.pace import PLENTY, QUICK
from reliq.store.claims import Ending
from reliq.store.probe import Probe

_log = logging.getLogger("reliq.worker")


class Slot:
    """One thread. Its gate is shut while it rests.

    `run` is what it runs, or ran last; `due` is when that is expected to end (monotonic clock), 0 at rest.
    """

    __slots__ = ("due", "gate", "run", "thread")

    def __init__(self, work: Callable[[Slot], None], number: int) -> None:
        self.run: Run | None = None
        self.due = 0.0
        self.gate = threading.Lock()
        self.gate.acquire()
        self.thread = threading.Thread(target=work, args=(self,), name=f"reliq-job-{number}", daemon=True)


class Threads:
    """Up to `concurrency` threads, started when they are first needed, that take runs from one line.

    A thread that is done takes the next run by itself, so quick runs cost no wake-up each. Only the loop's thread
    calls `push`, `nudge`, `take_back`, `collect`, `interrupt`, `expire` and `stop`. Threads ask `may_start` before
    each run, call `record` as it starts, and `wake` when an ending should not wait for the loop's next look.
    """

    def __init__(
        self,
        concurrency: int,
        handlers: Handlers,
        probe: Probe,
        *,
        record: Callable[[str], int | None],
        may_start: Callable[[], bool],
        wake: Callable[[], None],
        log_jobs: bool = False,
    ) -> None:
        self.concurrency = concurrency
        self._handlers = handlers
        self._probe = probe
        self._record = record
        self._may_start = may_start
        self._wake = wake
        self._log_jobs = log_jobs
        self._line: deque[Run] = deque()
        self._done: deque[tuple[Run, Ending]] = deque()
        self._held = 0
        self._work_pushed = 0.0  # seconds that all runs there ever were in the line are expected to take
        self._slots: list[Slot] = []
        self._resting: deque[Slot] = deque()
        self._loops: dict[int, asyncio.AbstractEventLoop] = {}
        self._mark = 0
        self._stopping = False

    # -- what there is; the threads go on meanwhile

    @property
    def held(self) -> int:
        """Runs that were pushed and not collected."""
        return self._held

    @property
    def waiting(self) -> int:
        """Runs that no thread has begun."""
        return len(self._line)

    @property
    def backlog(self) -> float:
        """Seconds that the runs in the line are expected to take, one after the other."""
        try:
            first = self._line[0]
        except IndexError:
            return 0.0
        return self._work_pushed - first.upto + first.expected

    @property
    def busy(self) -> int:
        """Runs that have begun and were not collected."""
        return max(0, self._held - len(self._line))

    @property
    def free(self) -> int:
        """How many more runs can be pushed without one having to wait."""
        return max(0, self.concurrency - self._held)

    def runs(self) -> list[Run]:
        """Return the runs that threads are in."""
        return [run for run in [slot.run for slot in self._slots] if run is not None]

    @property
    def full(self) -> bool:
        """True if every thread there may be is in a run."""
        return not self._resting and len(self._slots) >= self.concurrency

    def due(self, now: float, within: float) -> int:
        """Return how many threads should be done with what they run within so many seconds."""
        return sum(now - QUICK < slot.due < now + within for slot in self._slots)

    # -- the line

    def push(self, runs: Sequence[Run]) -> None:
        """Put runs at the end of the line, and wake as many threads as they are worth."""
        slow, quick = 0, 0.0
        for run in runs:
            if run.expected >= QUICK:
                slow += 1
            else:
                quick += run.expected
            self._work_pushed += run.expected
            run.upto = self._work_pushed
        self._held += len(runs)
        self._line.extend(runs)
        self._mark = int(PLENTY * len(self._line))
        now = time.monotonic()
        self._rouse(slow + int(quick / QUICK) - self.due(now, QUICK))
        self.nudge(now)

    def nudge(self, now: float) -> None:
        """Wake one more thread if runs wait, and no thread is about to take the next one."""
        if self._line and self.due(now, QUICK) == 0:
            self._rouse(1)

    def take_back(self, since_before: float = inf) -> list[Run]:
        """Take runs that no thread has begun out of the line: those that are older than this (monotonic clock)."""
        taken: list[Run] = []
        with suppress(IndexError):  # threads take from the same end
            while self._line[0].since < since_before:
                taken.append(self._line.popleft())
        self._held -= len(taken)
        return taken

    def collect(self) -> list[tuple[Run, Ending]]:
        """Return all runs that ended since the last call."""
        found = [self._done.popleft() for _ in range(len(self._done))]
        self._held -= len(found)
        return found

    def interrupt(self, kind: type[Interrupt] = JobInterrupted) -> int:
        """Raise `kind` in every running job; return in how many."""
        return sum(run.interrupt(kind) for run in self.runs())

    def expire(self, now: float) -> float | None:
        """Raise JobTimeout in jobs whose time is over; return the next deadline (monotonic clock)."""
        nearest = None
        for slot in self._slots:
            run = slot.run
            deadline = run.deadline if run is not None else None
            if run is None or deadline is None:
                continue
            if deadline <= now:
                run.interrupt(JobTimeout)
            elif nearest is None or deadline < nearest:
                nearest = deadline
        return nearest

    def stop(self, within: float) -> bool:
        """End the idle threads; False if some have not ended after `within` seconds."""
        until = time.monotonic() + within
        self._stopping = True
        self._rouse(len(self._slots))
        for slot in self._slots:
            slot.thread.join(max(0.0, until - time.monotonic()))
        return not any(slot.thread.is_alive() for slot in self._slots)

    def stacks(self) -> str:
        """Return what every thread and every task is doing, as text."""
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        jobs = {run.thread: f"{run.job.name} {run.jid}" for run in self.runs() if run.thread and run.job}
        parts = []
        for ident, frame in sys._current_frames().items():  # noqa: SLF001 - documented, despite its name
            head = f"thread {names.get(ident, ident)}" + (f" runs {jobs[ident]}" if ident in jobs else "")
            parts.append(head + "\n" + "".join(traceback.format_stack(frame)).rstrip())
        for loop in list(self._loops.values()):
            tasks = asyncio.all_tasks(loop)
            parts += ["\n".join([f"task {task.get_name()}", *_awaits(task)]) for task in tasks]
        return "\n".join(parts)

    # -- the threads

    def _rouse(self, count: int) -> None:
        for _ in range(count):
            try:
                self._resting.pop().gate.release()
            except IndexError:
                if self._stopping or len(self._slots) >= self.concurrency or not self._hire():
                    return

    def _hire(self) -> bool:
        slot = Slot(self._work, len(self._slots))
        self._slots.append(slot)  # before it starts: a signal handler may ask in that moment what runs
        try:
            slot.thread.start()
        except RuntimeError:
            self._slots.pop()
            if not self._slots:
                raise
            _log.warning("the system gives no more threads: this process runs %d jobs at a time", len(self._slots))
            self.concurrency = len(self._slots)
            return False
        return True

    def _work(self, slot: Slot) -> None:
        runner: asyncio.Runner | None = None

        def own_runner() -> asyncio.Runner:
            nonlocal runner
            if runner is None:
                runner = asyncio.Runner()
                self._loops[threading.get_ident()] = runner.get_loop()
            return runner

        while not self._stopping:
            self._go_on(slot, own_runner)
            self._rest(slot)
        if runner is not None:
            runner.close()

    def _go_on(self, slot: Slot, runner: Callable[[], asyncio.Runner]) -> None:
        line, now, ask_at = self._line, time.monotonic(), 0.0
        while line:
            if now >= ask_at:  # not for each of a hundred that take no time
                if not self._may_start():
                    return
                ask_at = now + QUICK
            try:
                run = line.popleft()
            except IndexError:
                return  # another thread was faster
            slot.run, slot.due, run.begun = run, now + run.expected, now
            ending = self._run(run, runner)
            now = time.monotonic()
            run.took = now - run.begun
            self._done.append((run, ending))
            # While there is enough in the line, the loop looks soon enough by itself, and settles many at once.
            left = len(line)
            if left in (0, self._mark) or run.took >= QUICK:
                self._wake()

    def _run(self, run: Run, runner: Callable[[], asyncio.Runner]) -> Ending:
        job = run.job if self._log_jobs else None
        if job is None:
            return run.go(self._handlers, self._probe, self._record, runner)
        _log.info("%s %s starts", job.name, job.jid, extra=run.log_fields())
        ending = run.go(self._handlers, self._probe, self._record, runner)
        run.took = time.monotonic() - run.begun
        fields = run.log_fields(ending.outcome)
        _log.info("%s %s: %s after %.3f s", job.name, job.jid, fields["outcome"], run.took, extra=fields)
        return ending

    def _rest(self, slot: Slot) -> None:
        slot.run, slot.due = None, 0.0
        self._resting.append(slot)
        if self._stopping or (self._line and self._may_start()):
            # That came in between, and perhaps nobody has seen us rest. Whoever has takes us out and opens the gate.
            with suppress(ValueError):
                self._resting.remove(slot)
                return
        slot.gate.acquire()


def _awaits(task: asyncio.Task[Any]) -> Iterator[str]:
    # Task.get_stack shows one frame of a suspended coroutine; where it waits is at the end of the chain.
    waiting: Any = task.get_coro()
    while waiting is not None:
        frame = getattr(waiting, "cr_frame", None) or getattr(waiting, "gi_frame", None)
        if frame is not None:
            yield f"  {frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
        waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "gi_yieldfrom", None)
