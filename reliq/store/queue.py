"""The producer's side: payloads into queues and into the schedule, each exactly once."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import tenacity

from reliq.clock import SystemClock
from reliq.errors import Refused, StoreError, Unreachable
from reliq.store.connection import Link
from reliq.store.opening import Store
from reliq.store.scripts import Scripts

BATCH_ITEMS = 1000
BATCH_BYTES = 1024 * 1024
MARK_MS = 15 * 60 * 1000
"""How long a producer's last call number is remembered. A call is sent again for half of it at most."""


class Sender:
    """One connection of one producer. Its calls are numbered; it serves one call at a time.

    The server remembers the last number of each producer, so a call that is sent again, or that arrives late
    from a connection that was given up, pushes nothing a second time.
    """

    def __init__(self, store: Store) -> None:
        self.link: Link = store.link("producer")
        self.scripts: Scripts = store.scripts(self.link)
        self.ahead: Scripts = store.scripts(self.link, ahead=True)
        self.sent = store.keys.sent(secrets.token_hex(8))
        self.number = 0


Operation = Callable[[Sender, Scripts], int]
"""Runs one script with the sender's key and number."""


class Queue:
    """Enqueues and schedules over as many connections as there are calls at the same time. Safe for threads.

    A process that forks gets connections and producer numbers of its own in the child.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._idle: list[Sender] = []
        self._pid = os.getpid()
        self._lock = threading.Lock()

    def enqueue(self, queue: str, payloads: Sequence[bytes]) -> None:
        """Push payloads, at most BATCH_ITEMS and in one step, so that all or none of them are seen.

        Raises Unreachable when no answer came for `resend_for` seconds (the jobs may then be there, or not),
        Refused when Redis answered with an error (they are not).
        """
        if payloads:
            self.begin_enqueue(queue, payloads).finish()

    def schedule(self, entries: Sequence[tuple[float, bytes]]) -> None:
        """Add (due time in epoch seconds, payload) pairs to the schedule. Raises as `enqueue` does."""
        if entries:
            self.begin_schedule(entries).finish()

    def begin_enqueue(self, queue: str, payloads: Sequence[bytes]) -> Call:
        """Send what `enqueue` sends. Until `finish` of the returned call it is not known what has become of it."""
        keys = self.store.keys

        def push(sender: Sender, scripts: Scripts) -> int:
            return scripts.enqueue(
                sent=sender.sent,
                queues=keys.queues,
                queue=keys.queue(queue),
                number=sender.number,
                mark_ms=MARK_MS,
                name=queue,
                payloads=payloads,
            )

        return Call(self, push)

    def begin_schedule(self, entries: Sequence[tuple[float, bytes]]) -> Call:
        """Send what `schedule` sends, as `begin_enqueue` does."""
        flat: list[bytes | str] = []
        for at, payload in entries:
            flat += (repr(at), payload)

        def add(sender: Sender, scripts: Scripts) -> int:
            return scripts.schedule(
                sent=sender.sent,
                schedule=self.store.keys.schedule,
                number=sender.number,
                mark_ms=MARK_MS,
                entries=flat,
            )

        return Call(self, add)

    def close(self) -> None:
        """Close all connections that are not in use."""
        with self._lock:
            idle, self._idle = self._idle, []
        for sender in idle:
            sender.link.close()

    def take(self) -> Sender:
        """Return a sender that nobody uses."""
        if self._pid != os.getpid():
            # After a fork: the sockets belong to the parent, whose calls they would garble; and the lock may have
            # been held at that moment, by a thread that does not exist here.
            self._pid, self._idle, self._lock = os.getpid(), [], threading.Lock()
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return Sender(self.store)

    def give(self, sender: Sender) -> None:
        """Take back a sender whose last call has had its answer."""
        with self._lock:
            self._idle.append(sender)


class Call:
    """One numbered call, sent when it is made. Applied once, however often `finish` has to send it again."""

    def __init__(self, queue: Queue, operation: Operation) -> None:
        self._queue = queue
        self._operation = operation
        self._sender = queue.take()
        self._sender.number += 1
        self._began = SystemClock.boot()
        self._failure: StoreError | None = None
        try:
            operation(self._sender, self._sender.ahead)
        except StoreError as error:
            self._failure = error

    def finish(self) -> None:
        """Wait for the answer, and go on until there is one. Raises as `Queue.enqueue` does."""
        try:
            self._answer()
        except StoreError as error:
            if not _passes(error):
                self._queue.give(self._sender)  # an answer came: the connection is in step
                raise
            self._resend(error)
        self._queue.give(self._sender)

    def _answer(self) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            self._sender.link.receive()
        except Refused as refusal:
            if refusal.code != "NOSCRIPT":
                raise
            self._operation(self._sender, self._sender.scripts)

    def _resend(self, error: StoreError) -> None:
        # A sender that fails in the end is not given back: its number may still arrive late, once. `unsure`: one of the
        # tries had no answer, and may have been applied; that a later one is refused does not undo it.
        unsure = isinstance(error, Unreachable)
        patience = self._queue.store.config.resend_for

        def once_more() -> None:
            nonlocal unsure
            if self._too_late():
                raise error
            try:
                self._operation(self._sender, self._sender.scripts)
            except Unreachable:
                unsure = True
                raise

        again = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda found: _passes(found) and not self._too_late()),
            wait=tenacity.wait_random_exponential(multiplier=0.05, max=1.0),
            stop=tenacity.stop_after_delay(patience),
            reraise=True,
        )
        try:
            again(once_more)
        except StoreError as last:
            self._sender.link.close()
            if not unsure:
                raise
            raise Unreachable(f"{last}; tried for {patience:g} s, the job may have been enqueued or not") from None

    def _too_late(self) -> bool:
        """Whether the server may have forgotten the number: a process can be frozen, and a call be finished late."""
        return SystemClock.boot() - self._began > MARK_MS / 2000


def _passes(error: BaseException) -> bool:
    return isinstance(error, Unreachable) or (isinstance(error, Refused) and error.passes)


def batches(payloads: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield payloads in lists of at most BATCH_ITEMS and, unless one alone is larger, BATCH_BYTES."""
    source = iter(payloads)
    kept: list[bytes] = []
    while chunk := kept or list(islice(source, 1)):
        size = sum(map(len, chunk))
        kept = []
        for payload in islice(source, BATCH_ITEMS - len(chunk)):
            size += len(payload)
            if size > BATCH_BYTES:
                kept = [payload]
                break
            chunk.append(payload)
        yield chunk
