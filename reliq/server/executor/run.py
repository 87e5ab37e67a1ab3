"""Run: one claim on its way from bytes to an outcome."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import inspect
import logging
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

from reliq.attempt import Attempt, current
from reliq.errors import BadPayload, Interrupt, JobInterrupted, UnknownJob
from reliq.handlers import Definition, Handlers
from reliq.job import Job, decode, jid_of
from reliq.outcome import DONE, Bury, Drop, Outcome, Release, Retry, of_error
from reliq.store.claims import Claim, Ending
from reliq.store.probe import Probe

UNKNOWN_RETRIES = 10
"""Retries for a name that nobody knows here: over four hours, longer than a rolling deploy takes to bring it."""

_log = logging.getLogger("reliq.worker")

_raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
_raise_in.argtypes = (ctypes.c_ulong, ctypes.py_object)


class Run:
    """One attempt. Made by the loop, walked through by one thread, interrupted from another.

    Decode, find the function, call it, and turn what happened into an outcome: each step's error leads to the
    same place, `of_error`. `since` is when the loop had the claim and `begun` when a thread took it (monotonic clock),
    `expected` and `took` how long it is expected to run, and did (seconds), `enqueued` when it was enqueued (epoch
    seconds, 0 if unknown). `upto` is for the line it waits in.

    Hundreds wait and hundreds are to be settled, so a run keeps what it needs for that, and all else while it runs.
    """

    __slots__ = (
        "_asked",
        "_attempt",
        "_cancel",
        "_job",
        "_lock",
        "_probe",
        "_raised",
        "_thread",
        "begun",
        "claim",
        "deadline",
        "definition",
        "enqueued",
        "error",
        "expected",
        "queue",
        "since",
        "took",
        "upto",
    )

    def __init__(self, claim: Claim, queue: str, since: float, expected: float = 0.0) -> None:
        self.claim = claim
        self.queue = queue
        self.since = since
        self.expected = expected
        self.upto = 0.0
        self.begun = 0.0
        self.took = 0.0
        self.enqueued = 0.0
        self.definition: Definition | None = None
        self.deadline: float | None = None
        self.error: BaseException | None = None
        self._job: Job | None = None
        self._lock: threading.Lock | None = None
        self._thread: int | None = None
        self._cancel: Callable[[], object] | None = None
        self._asked = False
        self._raised: type[Interrupt] | None = None
        self._probe: Probe | None = None
        self._attempt: Attempt | None = None

    @property
    def job(self) -> Job | None:
        """What the payload says, None if it cannot be read. Read for this question, except while it runs."""
        if self._job is not None:
            return self._job
        try:
            return decode(self.claim.payload)
        except BadPayload:
            return None

    @property
    def jid(self) -> str:
        """The job's id, or its stand-in."""
        return jid_of(self.claim.payload)

    @property
    def thread(self) -> int | None:
        """The thread that runs it, None before and after."""
        return self._thread

    def go(
        self,
        handlers: Handlers,
        probe: Probe,
        record: Callable[[str], int | None],
        runner: Callable[[], asyncio.Runner],
    ) -> Ending:
        """Run to the end, whatever it is. `record` notes, before anything else, that the job has started."""
        claim, self._probe, self._lock = self.claim, probe, threading.Lock()
        try:
            job = self._job = decode(claim.payload)
            claim.mark = record(job.jid)
            enqueued = job.fields.get("enqueued_at")
            self.enqueued = enqueued if type(enqueued) is float else job.enqueued_at or 0.0
            definition = self.definition = handlers.find(job.name)
            self._call(job, definition, runner)
            return Ending(claim, DONE, job.jid)
        except BaseException as error:  # noqa: BLE001 - a job may raise anything; all of it becomes an outcome
            self.error = error
            return Ending(claim, self._failed(error), self.jid)
        finally:
            self._job = self._attempt = self._lock = None

    def log_fields(self, outcome: Outcome | None = None) -> dict[str, Any]:
        """Return what a log line about it, or about its end, says besides the text."""
        job = self.job
        fields: dict[str, Any] = {
            "jid": job.jid if job else self.jid,
            "job": job.name if job else None,
            "queue": self.queue,
            "attempt": _number(job) if job else 1,
        }
        if outcome is not None:
            fields |= {"outcome": type(outcome).__name__.lower(), "seconds": round(self.took, 6)}
        return fields

    def report(self, failure: Retry | Bury | Drop) -> None:
        """Write to the log how it failed."""
        fields = self.log_fields(failure)
        fate = {Retry: "is retried", Bury: "is buried", Drop: "is dropped"}[type(failure)]
        level = logging.ERROR if isinstance(failure, Bury) else logging.WARNING  # nobody runs it again by himself
        said = (fields["job"] or "unreadable job", fields["jid"], fate, failure.error)
        _log.log(level, "%s %s failed and %s: %s", *said, exc_info=self.error, extra=fields)

    def report_in_vain(self) -> None:
        """Write to the log that it ended when its process had been declared dead."""
        said = "%s ended, but its process had been declared dead: it runs again elsewhere"
        _log.warning(said, self.jid, extra=self.log_fields())

    def interrupt(self, kind: type[Interrupt]) -> bool:
        """Raise `kind` inside the running job, once; False if it does not run any more or was interrupted before.

        A coroutine is cancelled at its next await. A function gets the exception at its next bytecode: one that
        waits inside C sees it only when that returns.
        """
        lock = self._lock
        if lock is None or self._raised is not None:
            return False  # before the lock: an exception that is under way may have struck its holder
        with lock:
            # First ask, then look whether it runs. The other side first ends, then looks whether somebody asks, and
            # takes the lock only if so: one of the two sees the other.
            self._asked = True
            if self._thread is None:
                self._asked = False
                return False
            self._raised = kind
            if self._cancel is not None:
                self._cancel()
            else:
                _raise_in(self._thread, kind)
            return True

    def attempt(self) -> Attempt:
        """Return what the job can learn about this run; only while `go` is under way."""
        if self._attempt is None:
            job, probe = self._job, self._probe
            assert job is not None and probe is not None  # noqa: S101, PT018 - a job that runs has been read
            identity = self.claim.identity
            self._attempt = Attempt(job.jid, job.name, self.queue, _number(job), identity=identity, asked=probe)
        return self._attempt

    def _call(self, job: Job, definition: Definition, runner: Callable[[], asyncio.Runner]) -> None:
        token = current.set(self)
        try:
            if definition.is_async:
                self._await(definition.function(*job.args, **job.kwargs), job, runner())
                return
            self._open()
            result = definition.function(*job.args, **job.kwargs)
            if result is not None and inspect.iscoroutine(result):
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
            current.reset(token)

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
        self._cancel = cancel
        if self.definition is not None and self.definition.timeout is not None:
            self.deadline = time.monotonic() + self.definition.timeout
        self._thread = threading.get_ident()  # last: from here on it may be interrupted
        if cancel is not None and self._raised is not None:
            cancel()  # asked for between the call that made the coroutine and its first step

    def _close(self) -> None:
        thread, self._thread, self.deadline = self._thread, None, None
        if self._asked and thread is not None and self._lock is not None:
            with self._lock:
                if self._raised is not None and self._cancel is None:
                    # One that was asked for but not delivered yet must not hit the next job of this thread.
                    _raise_in(thread, ctypes.py_object())

    def _failed(self, error: BaseException) -> Outcome:
        if self._raised is JobInterrupted:
            return Release()  # whatever the job made of it on its way out: it was told to stop
        if self._raised is not None:
            limit = self.definition.timeout if self.definition else None
            error = self._raised(f"ran longer than {limit:g} s").with_traceback(error.__traceback__)
            self.error = error
        raw, job = self.claim.payload, self._job
        try:
            if isinstance(error, UnknownJob):
                return of_error(raw, job, error, limit=UNKNOWN_RETRIES, queue=self.queue)
            retry = self.definition.retry if self.definition else None
            return of_error(raw, job, error, retry=retry, queue=self.queue)
        except Exception as failure:  # noqa: BLE001 - whatever cannot be written down must still not be lost
            return Bury(raw, f"{type(error).__name__}, and it could not be recorded: {failure!r}")


def _number(job: Job) -> int:
    """1 on the first run, and one more after each failure."""
    return 1 if job.retry_count is None else job.retry_count + 2
