"""Enqueueing: from a name and arguments to a payload in Redis."""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from reliq.errors import BadArguments
from reliq.job import check_name, check_queue, check_retry, encode, new_jid
from reliq.store.opening import Store
from reliq.store.queue import Queue, batches

Delay = float | datetime.timedelta
When = float | datetime.datetime


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
    """What a producer needs. Safe for threads; connects when the first job is sent."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._queue = Queue(store)

    def enqueue(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        queue: str,
        retry: bool | int,
        at: float | None = None,
    ) -> str:
        """Enqueue one job, or schedule it for `at` (epoch seconds); return its jid.

        Once this returns, the job is in Redis, exactly once. Raises BadArguments, PayloadTooLarge, Refused (it
        is not there) and Unreachable (it may be there or not).
        """
        jid = new_jid()
        payload = self._encode(name, args, kwargs, jid, queue, retry, at)
        if at is None:
            self._queue.enqueue(queue, [payload])
        else:
            self._queue.schedule([(at, payload)])
        return jid

    def enqueue_many(
        self, name: str, calls: Iterable[tuple[Sequence[Any], Mapping[str, Any]]], *, queue: str, retry: bool | int
    ) -> list[str]:
        """Enqueue one job per (args, kwargs); return their jids.

        One round trip per thousand jobs or MiB, and each of these is seen at once or not at all. When it raises,
        the thousands before the failing one are enqueued.
        """
        jids: list[str] = []

        def payloads() -> Iterator[bytes]:
            for args, kwargs in calls:
                jid = new_jid()
                jids.append(jid)
                yield self._encode(name, args, kwargs, jid, queue, retry, None)

        for batch in batches(payloads()):
            self._queue.enqueue(queue, batch)
        return jids

    def close(self) -> None:
        """Close the connections, and let go of the embedded server if that was used."""
        self._queue.close()
        self.store.close()

    def _encode(  # noqa: PLR0917 - called twice, right above
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        jid: str,
        queue: str,
        retry: bool | int,
        at: float | None,
    ) -> bytes:
        return encode(
            check_name(name),
            args,
            kwargs,
            jid=jid,
            queue=check_queue(queue),
            retry=check_retry(retry),
            now=time.time(),
            scheduled=at is not None,
            max_payload=self.store.config.max_payload,
        )
