"""Many jobs: chunk after chunk, each on its way while the next one is made."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic

from reliq.errors import StoreError, Unreachable
from reliq.store.queue import Call, Queue

QUICK = 0.05
"""Seconds. Chunks that take longer to make are waited for: it costs nothing then, and no news is left unread."""


class Stream:
    """Pushes to any number of queues, in the order of the calls. Not for several threads at once.

    Never are two chunks on their way: the first could be refused for a while and the second be applied, and then
    the number of the first would be old. `finish` or `give_up` must follow.

    `enqueued`: jobs that Redis has said it has. `unsure`: those it may have or not, since no answer came. `whole` is
    what errors say these are a part of.
    """

    def __init__(self, queue: Queue) -> None:
        self.enqueued = 0
        self.unsure = 0
        self.whole = "the jobs"
        self._queue = queue
        self._call: Call | None = None
        self._size = 0
        self._ready = -math.inf
        self._failure: BaseException | None = None

    def enqueue(self, queue: str, payloads: Sequence[bytes]) -> None:
        """Send payloads, at most BATCH_ITEMS, once the chunk before them has been answered.

        Raises what `Queue.enqueue` raises, on behalf of that one, too; these are then not sent.
        """
        self._next(partial(self._queue.begin_enqueue, queue, payloads), len(payloads))

    def schedule(self, entries: Sequence[tuple[float, bytes]]) -> None:
        """Send (due time in epoch seconds, payload) pairs as `enqueue` does."""
        self._next(partial(self._queue.begin_schedule, entries), len(entries))

    def finish(self) -> None:
        """Wait for the answer to the last chunk. Raises what `Queue.enqueue` raises."""
        call, self._call = self._call, None
        if call is None:
            return
        try:
            call.finish()
        except BaseException as error:
            self._failed(error)
            raise
        self.enqueued += self._size

    def _next(self, begin: Callable[[], Call], size: int) -> None:
        quick = monotonic() - self._ready < QUICK
        self.finish()
        self._size = size
        try:
            self._call = begin()
        except BaseException as error:
            self._failed(error)
            raise
        if not quick:  # the first one neither: the server may not know the script yet
            self.finish()
        self._ready = monotonic()

    def _failed(self, error: BaseException) -> None:
        self._failure = error
        if isinstance(error, Unreachable) or not isinstance(error, Exception):  # no answer, or interrupted before it
            self.unsure += self._size
        if isinstance(error, StoreError):
            error.args = (f"{error}; {self._fate()}",)

    def give_up(self, error: BaseException) -> None:
        """Send nothing more, because of this error, and note in it what has become of the jobs."""
        if error is self._failure:
            return  # says so already
        try:
            self.finish()
        except StoreError as another:
            error.add_note(str(another))
        else:
            error.add_note(self._fate())

    def _fate(self) -> str:
        unsure = f", {self.unsure:,} may be or not" if self.unsure else ""
        return f"{self.enqueued:,} of {self.whole} are enqueued{unsure}, the others are not"
