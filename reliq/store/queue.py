"""The producer's side: payloads into queues and into the schedule, each exactly once."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import tenacity

from reliq.errors import Refused, StoreError, Unreachable
from reliq.store.connection import Link
from reliq.store.opening import Store
from reliq.store.scripts import Scripts

BATCH_ITEMS = 1000
BATCH_BYTES = 1024 * 1024
MARK_MS = 15 * 60 * 1000
"""How long a producer's last call number is remembered: far longer than any resend goes on (60 s)."""


class Sender:
    """One connection of one producer. Its calls are numbered; it serves one call at a time.

    The server remembers the last number of each producer, so a call that is sent again, or that arrives late
    from a connection that was given up, pushes nothing a second time.
    """

    def __init__(self, store: Store) -> None:
        self.link: Link = store.link("producer")
        self.scripts: Scripts = store.scripts(self.link)
        self.sent = store.keys.sent(secrets.token_hex(8))
        self.number = 0


class Queue:
    """Enqueues and schedules over as many connections as there are calls at the same time. Safe for threads.

    A process that forks gets connections and producer numbers of its own in the child.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._idle: list[Sender] = []
        self._pid = os.getpid()
        self._lock = threading.Lock()

    def enqueue(self, queue: str, payloads: Sequence[bytes]) -> None:
        """Push payloads, at most BATCH_ITEMS and in one step, so that all or none of them are seen.

        Raises Unreachable when no answer came for `resend_for` seconds (the jobs may then be there, or not),
        Refused when Redis answered with an error (they are not).
        """
        if not payloads:
            return
        keys = self._store.keys

        def push(sender: Sender) -> int:
            return sender.scripts.enqueue(
                sent=sender.sent,
                queues=keys.queues,
                queue=keys.queue(queue),
                number=sender.number,
                mark_ms=MARK_MS,
                name=queue,
                payloads=payloads,
            )

        self._send(push)

    def schedule(self, entries: Sequence[tuple[float, bytes]]) -> None:
        """Add (due time in epoch seconds, payload) pairs to the schedule. Raises as `enqueue` does."""
        if not entries:
            return
        flat: list[bytes | str] = []
        for at, payload in entries:
            flat += (repr(at), payload)

        def add(sender: Sender) -> int:
            return sender.scripts.schedule(
                sent=sender.sent,
                schedule=self._store.keys.schedule,
                number=sender.number,
                mark_ms=MARK_MS,
                entries=flat,
            )

        self._send(add)

    def close(self) -> None:
        """Close all connections that are not in use."""
        with self._lock:
            idle, self._idle = self._idle, []
        for sender in idle:
            sender.link.close()

    def _send(self, operation: Callable[[Sender], int]) -> None:
        sender = self._take()
        sender.number += 1
        try:
            operation(sender)
        except StoreError as error:
            if not _passes(error):
                self._give(sender)  # an answer came: the connection is in step
                raise
            self._resend(sender, operation, unsure=isinstance(error, Unreachable))
        self._give(sender)

    def _resend(self, sender: Sender, operation: Callable[[Sender], int], *, unsure: bool) -> None:
        # A sender that fails in the end is not given back: its number may still arrive late, once. `unsure`: one of the
        # tries had no answer, and may have been applied; that a later one is refused does not undo it.
        def once_more() -> int:
            nonlocal unsure
            try:
                return operation(sender)
            except Unreachable:
                unsure = True
                raise

        again = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_passes),
            wait=tenacity.wait_random_exponential(multiplier=0.05, max=1.0),
            stop=tenacity.stop_after_delay(self._store.config.resend_for),
            reraise=True,
        )
        try:
            again(once_more)
        except StoreError as error:
            sender.link.close()
            if not unsure:
                raise
            raise Unreachable(
                f"{error}; tried for {self._store.config.resend_for:g} s, the job may have been enqueued or not"
            ) from None

    def _take(self) -> Sender:
        if self._pid != os.getpid():
            # After a fork: the sockets belong to the parent, whose calls they would garble; and the lock may have
            # been held at that moment, by a thread that does not exist here.
            self._pid, self._idle, self._lock = os.getpid(), [], threading.Lock()
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return Sender(self._store)

    def _give(self, sender: Sender) -> None:
        with self._lock:
            self._idle.append(sender)


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
