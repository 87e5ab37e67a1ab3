"""Run: one claim on its way from bytes to an outcome."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import inspect
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

from reliq.attempt import Attempt, enter
from reliq.errors import Interrupt, JobInterrupted, UnknownJob
from reliq.handlers import Definition, Handlers
from reliq.job import Job, anonymous_jid, decode
from reliq.outcome import Bury, Done, Outcome, Release, of_error
from reliq.store.claims import Claim, Ending
from reliq.store.probe import Probe

UNKNOWN_RETRIES = 10
"""Retries for a name that nobody knows here: over four hours, longer than a rolling deploy takes to bring it."""

_raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
_raise_in.argtypes = (ctypes.c_ulong, ctypes.py_object)


class Run:
    """One attempt. Made by the loop, walked through by one thread, interrupted from another.

    Decode, find the function, call it, and turn what happened into an outcome: each step's error leads to the
    same place, `of_error`.
    """

    def __init__(self, claim: Claim, queue: str, record: Callable[[str], int | None]) -> None:
        self.claim = claim
        self.queue = queue
        self.began = time.time()
        self.mark: int | None = None
        self.job: Job | None = None
        self.definition: Definition | None = None
        self.deadline: float | None = None
        self.error: BaseException | None = None
        self._record = record
        self._lock = threading.Lock()
        self._thread: int | None = None
        self._cancel: Callable[[], object] | None = None
        self._raised: type[Interrupt] | None = None

    @property
    def jid(self) -> str:
        """The job's id, or its stand-in."""
        return self.job.jid if self.job is not None else anonymous_jid(self.claim.payload)

    @property
    def thread(self) -> int | None:
        """The thread that runs it, None before and after."""
        return self._thread

    def go(self, handlers: Handlers, probe: Probe, runner: Callable[[], asyncio.Runner]) -> Ending:
        """Run to the end, whatever it is."""
        try:
            self.job = decode(self.claim.payload)
            self.mark = self._record(self.job.jid)
            self.definition = handlers.find(self.job.name)
            self._call(self._attempt(probe), runner)
            outcome: Outcome = Done()
        except BaseException as error:  # noqa: BLE001 - a job may raise anything; all of it becomes an outcome
            self.error = error
            outcome = self._failed(error)
        return Ending(self.claim, outcome, self.jid)

    def interrupt(self, kind: type[Interrupt]) -> bool:
        """Raise `kind` inside the running job, once; False if it does not run any more or was interrupted before.

        A coroutine is cancelled at its next await. A function gets the exception at its next bytecode: one that
        waits inside C sees it only when that returns.
        """
        if self._raised is not None:
            return False  # before the lock: an exception that is under way may have struck its holder
        with self._lock:
            if self._thread is None:
                return False
            self._raised = kind
            if self._cancel is not None:
                self._cancel()
            else:
                _raise_in(self._thread, kind)
            return True

    def _attempt(self, probe: Probe) -> Attempt:
        job = self.job
        assert job is not None  # noqa: S101 - decoded two lines before
        return Attempt(
            jid=job.jid,
            name=job.name,
            queue=self.queue,
            attempt=1 if job.retry_count is None else job.retry_count + 2,
            identity=self.claim.identity,
            ask_crashes=lambda: probe.crashes(job.jid),
            draw_fence=lambda: probe.fence(self.claim.identity),
        )

    def _call(self, attempt: Attempt, runner: Callable[[], asyncio.Runner]) -> None:
        definition, job = self.definition, self.job
        assert definition is not None and job is not None  # noqa: S101, PT018 - both set by the caller
        back = enter(attempt)
        try:
            if definition.is_async:
                self._await(definition.function(*job.args, **job.kwargs), job, runner())
                return
            self._open()
            result = definition.function(*job.args, **job.kwargs)
            if inspect.iscoroutine(result):
                # A decorator has hidden that the job is a coroutine: it has not run yet.
                self._close()
                if self._raised is not None:
                    result.close()
                    raise self._raised
                self._await(result, job, runner())
        except TypeError:
            # Only now is it worth asking whether the arguments fit: on the way of every other job it costs nothing.
            definition.check(job.args, job.kwargs)
            raise
        finally:
            self._close()
            back()

    def _await(self, waiting: Coroutine[Any, Any, Any], job: Job, runner: asyncio.Runner) -> None:
        async def main() -> None:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - inside a running loop there is one
            task.set_name(f"{job.name} {job.jid}")
            loop = asyncio.get_running_loop()
            self._open(lambda: loop.call_soon_threadsafe(task.cancel))
            await waiting

        # A context of its own: a runner would keep the one, and the attempt, of its first job.
        runner.run(main(), context=contextvars.copy_context())

    def _open(self, cancel: Callable[[], object] | None = None) -> None:
        with self._lock:
            self._cancel = cancel
            self._thread = threading.get_ident()
            if self.definition is not None and self.definition.timeout is not None:
                self.deadline = time.monotonic() + self.definition.timeout
            if cancel is not None and self._raised is not None:
                cancel()  # asked for between the call that made the coroutine and its first step

    def _close(self) -> None:
        with self._lock:
            thread, self._thread, self.deadline = self._thread, None, None
            if thread is not None and self._raised is not None and self._cancel is None:
                # One that was asked for but not delivered yet must not hit the next job of this thread.
                _raise_in(thread, ctypes.py_object())

    def _failed(self, error: BaseException) -> Outcome:
        if self._raised is JobInterrupted:
            return Release()  # whatever the job made of it on its way out: it was told to stop
        if self._raised is not None:
            limit = self.definition.timeout if self.definition else None
            error = self._raised(f"ran longer than {limit:g} s").with_traceback(error.__traceback__)
            self.error = error
        raw, job = self.claim.payload, self.job
        try:
            if isinstance(error, UnknownJob):
                return of_error(raw, job, error, limit=UNKNOWN_RETRIES, queue=self.queue)
            retry = self.definition.retry if self.definition else None
            return of_error(raw, job, error, retry=retry, queue=self.queue)
        except Exception as failure:  # noqa: BLE001 - whatever cannot be written down must still not be lost
            return Bury(raw, f"{type(error).__name__}, and it could not be recorded: {failure!r}")
