"""Batches: jobs that are collected in a `with` block and sent together."""

from __future__ import annotations

import asyncio
import os
import threading
from contextvars import ContextVar, Token
from types import TracebackType

from reliq.store.queue import BATCH_BYTES, BATCH_ITEMS, Queue, batches
from reliq.store.stream import Stream


class Batch:
    """The jobs of one `with app.batch_enqueue()` block, or `async with`.

    `collected` counts the jobs that were enqueued in the block. Of these Redis has said that it has `enqueued`; it may
    have `unsure` or not, because no answer came. After the block they are final.

    A batch belongs to a context: to the thread or task of its block, and to the tasks and `asyncio.to_thread` calls
    that are started in it. What of these outlives the block sends by itself, and so does a forked child.
    """

    def __init__(self, queue: Queue, current: ContextVar[Batch | None]) -> None:
        self.collected = 0
        self._current = current
        self._token: Token[Batch | None] | None = None
        self._pid = os.getpid()
        self._over = False
        self._failure: BaseException | None = None
        self._stream = Stream(queue)
        self._sending = threading.Lock()  # whoever holds it sends, so that the order stays
        self._lock = threading.Lock()  # for what waits, below; never held while Redis is waited for
        self._waiting: dict[str, list[bytes]] = {}
        self._scheduled: list[bytes] = []
        self._due: list[float] = []
        self._count = 0
        self._bytes = 0

    @property
    def enqueued(self) -> int:
        """Jobs that certainly are in Redis."""
        return self._stream.enqueued

    @property
    def unsure(self) -> int:
        """Jobs that may be in Redis or not."""
        return self._stream.unsure

    # -- what a client does with it

    @property
    def open(self) -> bool:
        """Whether it still collects: the block has not ended, and this is not a child that was forked inside of it."""
        return not self._over and self._pid == os.getpid()

    @property
    def full(self) -> bool:
        """Whether `send` should be called."""
        return self._count >= BATCH_ITEMS or self._bytes >= BATCH_BYTES

    def add(self, queue: str, at: float | None, payload: bytes) -> bool:
        """Collect a job, or say that this batch is not open. Raises again what a former `send` has raised."""
        if self._pid != os.getpid():
            return False  # forked inside of the block: the lock may have been held at that moment
        with self._lock:
            if self._over:
                return False
            if self._failure is not None:
                raise self._failure
            if at is None:
                self._waiting.setdefault(queue, []).append(payload)
            else:
                self._scheduled.append(payload)
                self._due.append(at)
            self.collected += 1
            self._count += 1
            self._bytes += len(payload)
            return True

    def send(self) -> None:
        """Send what waits if it is a full chunk. Raises as `Queue.enqueue` does; then nothing more is sent."""
        with self._sending:
            if self.full:
                self._send(last=False)

    def _send(self, *, last: bool) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, {}
            scheduled, self._scheduled = self._scheduled, []
            due, self._due = iter(self._due), []
            self._count = self._bytes = 0
            self._stream.whole = f"the {self.collected:,} jobs of the batch"
        try:
            for queue, payloads in waiting.items():
                for chunk in batches(payloads):
                    self._stream.enqueue(queue, chunk)
            for chunk in batches(scheduled):
                self._stream.schedule([(at, payload) for payload, at in zip(chunk, due, strict=False)])
            if last:
                self._stream.finish()
        except BaseException as error:
            # Raised again by each further call: whoever swallows it must not think that only one job is missing.
            self._failure = error
            raise

    # -- the block

    def __enter__(self) -> Batch:  # noqa: PYI034 - not always this one
        """Collect from here on. Inside of another block of the same application that one goes on, and is returned."""
        outer = self._current.get()
        if outer is not None and outer.open:
            return outer
        self._token = self._current.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Send the rest. When the block has raised, send nothing more, and say in its error what was sent."""
        if self._token is not None:
            try:
                self._end(error)
            finally:
                self._current.reset(self._token)

    async def __aenter__(self) -> Batch:  # noqa: PYI034
        """Do what `with` does."""
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Do what `with` does, and wait for Redis in a thread."""
        if self._token is not None:
            try:
                await asyncio.to_thread(self._end, error)
            finally:
                self._current.reset(self._token)

    def _end(self, error: BaseException | None) -> None:
        if not self.open:
            return  # a forked child, which leaves the block as well: the jobs are the parent's
        with self._lock:
            self._over = True
        with self._sending:
            if error is None:
                if self._failure is not None:
                    raise self._failure
                self._send(last=True)
            elif error is not self._failure and self.collected:
                self._stream.whole = f"the {self.collected:,} jobs of the batch"
                self._stream.give_up(error)
