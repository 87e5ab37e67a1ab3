"""Threads: the default executor. Takes claims from the loop, gives back endings."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

from reliq.errors import Interrupt, JobInterrupted, JobTimeout
from reliq.handlers import Handlers
from reliq.server.executor.run import Run
from reliq.store.claims import Ending
from reliq.store.probe import Probe


class Threads:
    """Up to `concurrency` threads, started when they are first needed.

    Only the loop's thread calls `submit`, `collect`, `interrupt` and `expire`. `wake` is called by a worker thread
    whenever an ending is there to be collected.
    """

    def __init__(self, concurrency: int, handlers: Handlers, probe: Probe, wake: Callable[[], None]) -> None:
        self.concurrency = concurrency
        self._handlers = handlers
        self._probe = probe
        self._wake = wake
        self._todo: SimpleQueue[Run | None] = SimpleQueue()
        self._done: deque[tuple[Run, Ending]] = deque()
        self._threads: list[threading.Thread] = []
        self._loops: dict[int, asyncio.AbstractEventLoop] = {}
        self._running: dict[int, Run] = {}

    @property
    def busy(self) -> int:
        """Runs that were submitted and not collected."""
        return len(self._running)

    @property
    def free(self) -> int:
        """Runs that may be submitted now."""
        return self.concurrency - len(self._running)

    def runs(self) -> list[Run]:
        """Return the runs that were submitted and not collected."""
        return list(self._running.values())

    def submit(self, run: Run) -> None:
        """Start a run. There must be a free slot."""
        self._running[id(run)] = run
        if len(self._threads) < min(len(self._running), self.concurrency):
            thread = threading.Thread(target=self._work, name=f"reliq-job-{len(self._threads)}", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                # The system has no more threads to give: those that are there take this run, too, when they can.
                if not self._threads:
                    raise
            else:
                self._threads.append(thread)
        self._todo.put(run)

    def collect(self) -> list[tuple[Run, Ending]]:
        """Return all runs that ended since the last call."""
        found = []
        while self._done:
            run, ending = self._done.popleft()
            del self._running[id(run)]
            found.append((run, ending))
        return found

    def interrupt(self, kind: type[Interrupt] = JobInterrupted) -> int:
        """Raise `kind` in every running job; return in how many."""
        return sum(run.interrupt(kind) for run in self.runs())

    def expire(self, now: float) -> float | None:
        """Raise JobTimeout in jobs whose time is over; return the next deadline (monotonic clock)."""
        nearest = None
        for run in self.runs():
            deadline = run.deadline
            if deadline is None:
                continue
            if deadline <= now:
                run.interrupt(JobTimeout)
            elif nearest is None or deadline < nearest:
                nearest = deadline
        return nearest

    def stop(self, within: float) -> bool:
        """End the idle threads; False if some have not ended after `within` seconds."""
        until = time.monotonic() + within
        for _ in self._threads:
            self._todo.put(None)
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

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

    def _work(self) -> None:
        runner: asyncio.Runner | None = None

        def own_runner() -> asyncio.Runner:
            nonlocal runner
            if runner is None:
                runner = asyncio.Runner()
                self._loops[threading.get_ident()] = runner.get_loop()
            return runner

        while (run := self._todo.get()) is not None:
            self._done.append((run, run.go(self._handlers, self._probe, own_runner)))
            self._wake()
        if runner is not None:
            runner.close()


def _awaits(task: asyncio.Task[Any]) -> Iterator[str]:
    # Task.get_stack shows one frame of a suspended coroutine; where it waits is at the end of the chain.
    waiting: Any = task.get_coro()
    while waiting is not None:
        frame = getattr(waiting, "cr_frame", None) or getattr(waiting, "gi_frame", None)
        if frame is not None:
            yield f"  {frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
        waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "gi_yieldfrom", None)
