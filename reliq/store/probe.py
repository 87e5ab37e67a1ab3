"""What a running job asks of Redis about itself: its crashes, and a fence number."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import tenacity

from reliq.errors import JobInterrupted, Unreachable
from reliq.store.opening import Store

T = TypeVar("T")


class Probe:
    """One connection for all jobs of a process, made when the first one asks. Safe for threads.

    Both questions may be sent again after a lost answer: a fence number that nobody saw is merely unused.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._link = store.link("probe")
        self._lock = threading.Lock()

    def crashes(self, jid: str) -> int:
        """Return how many crashes are on record for the job. Raises StoreError."""
        record = self._ask(lambda: self._link.call("HGET", self._store.keys.crashes, jid))
        return int(record.partition(b":")[0]) if record else 0

    def fence(self, identity: str) -> int:
        """Return a fence number larger than all before.

        Raises JobInterrupted if the identity has been declared dead, StoreError.
        """
        keys = self._store.keys
        scripts = self._store.scripts(self._link)
        number = self._ask(lambda: scripts.fence(heartbeat=keys.heartbeat(identity), fence=keys.fence))
        if number is None:
            raise JobInterrupted("this process was declared dead, the job runs elsewhere")
        return int(number)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._link.close()

    def _ask(self, question: Callable[[], T]) -> T:
        again = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Unreachable),
            wait=tenacity.wait_random_exponential(multiplier=0.05, max=0.5),
            stop=tenacity.stop_after_delay(self._store.config.command_timeout),
            reraise=True,
        )
        with self._lock:
            return again(question)
