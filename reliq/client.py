"""Enqueueing: from a name and arguments to a payload in Redis."""

from __future__ import annotations

import asyncio
import datetime
import math
import time
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any

from reliq.batch import Batch
from reliq.errors import BadArguments
from reliq.job import encode, new_jid, new_jids
from reliq.store.opening import Store
from reliq.store.queue import Queue, batches
from reliq.store.stream import Stream

Delay = float | datetime.timedelta
When = float | datetime.datetime
Args = list[Any] | tuple[Any, ...]


def due_in(delay: Delay) -> float:
    """Return the epoch seconds of a moment `delay` (seconds or timedelta) from now. Raises BadArguments below 0."""
    seconds = delay.total_seconds() if isinstance(delay, datetime.timedelta) else delay
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
        raise BadArguments(f"delay {delay!r}: give seconds or a timedelta")
    if seconds < 0:
        raise BadArguments(f"delay {seconds:g} s lies in the past; give 0 or more")
    return time.time() + seconds


def due_at(when: When) -> float:
    """Return the epoch seconds of `when`, an aware datetime or epoch seconds. Raises BadArguments.

    A moment in the past is fine: the job runs at once.
    """
    if isinstance(when, datetime.datetime):
        if when.tzinfo is None:
            raise BadArguments(
                f"{when.isoformat()} has no time zone; use an aware datetime, as datetime.now(UTC) gives"
            )
        return when.timestamp()
    if isinstance(when, bool) or not isinstance(when, int | float) or not math.isfinite(when):
        raise BadArguments(f"time {when!r}: give an aware datetime or epoch seconds")
    return float(when)


class Client:
    """What a producer needs. Safe for threads; connects when the first job is sent.

    Names, queues and retry rules that it is given have been checked: a job's own when that was defined.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._queue = Queue(store)
        self._limit = store.config.max_payload
        self._batch: ContextVar[Batch | None] = ContextVar("reliq_batch", default=None)

    def enqueue(
        self,
        name: str,
        args: Args,
        kwargs: dict[str, Any],
        *,
        queue: str,
        retry: bool | int,
        at: float | None = None,
    ) -> str:
        """Enqueue one job, or schedule it for `at` (epoch seconds); return its jid.

        Once this returns, the job is in Redis, exactly once; inside a batch it is only collected, and a full batch is
        sent. Raises BadArguments, PayloadTooLarge, Refused (it is not there) and Unreachable (it may be there or not).
        """
        jid = new_jid()
        now, later = time.time(), at is not None
        payload = encode(
            name, args, kwargs, jid=jid, queue=queue, retry=retry, now=now, scheduled=later, max_payload=self._limit
        )
        batch = self._batch.get()
        if batch is None or not batch.add(queue, at, payload):
            self._push(queue, at, payload)
        elif batch.full:
            batch.send()
        return jid

    async def aenqueue(self, name: str, args: Args, kwargs: dict[str, Any], *, queue: str, retry: bool | int) -> str:
        """Do what `enqueue` does, and wait for Redis in a thread."""
        jid = new_jid()
        payload = encode(
            name, args, kwargs, jid=jid, queue=queue, retry=retry, now=time.time(), max_payload=self._limit
        )
        batch = self._batch.get()
        if batch is None or not batch.add(queue, None, payload):
            await asyncio.to_thread(self._push, queue, None, payload)
        elif batch.full:
            await asyncio.to_thread(batch.send)
        return jid

    def enqueue_many(self, name: str, calls: Iterable[Args], *, queue: str, retry: bool | int) -> list[str]:
        """Enqueue one job per tuple of positional arguments; return their jids.

        One round trip per thousand jobs or MiB, and each of these is seen at once or not at all. When it raises,
        the jobs before the failing thousand are enqueued; the error says how many. Inside a batch all are collected.
        """
        batch = self._batch.get()
        if batch is not None and batch.open:
            return [self.enqueue(name, args, {}, queue=queue, retry=retry) for args in calls]
        jids: list[str] = []
        limit = self._limit

        def payloads() -> Iterator[bytes]:
            for args, jid in zip(calls, new_jids(), strict=False):
                jids.append(jid)
                yield encode(name, args, {}, jid=jid, queue=queue, retry=retry, now=time.time(), max_payload=limit)

        stream = Stream(self._queue)
        try:
            for chunk in batches(payloads()):
                stream.enqueue(queue, chunk)
            stream.finish()
        except BaseException as error:
            stream.give_up(error)
            raise
        return jids

    def batch(self) -> Batch:
        """Return a batch, to be entered."""
        return Batch(self._queue, self._batch)

    def close(self) -> None:
        """Close the connections, and let go of the embedded server if that was used."""
        self._queue.close()
        self.store.close()

    def _push(self, queue: str, at: float | None, payload: bytes) -> None:
        if at is None:
            self._queue.enqueue(queue, [payload])
        else:
            self._queue.schedule([(at, payload)])
