"""What a running job can learn about itself."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol

from reliq.errors import NoAttempt


class Asked(Protocol):
    """Who knows what an attempt may be asked about itself."""

    def crashes(self, jid: str) -> int:
        """Return how many crashes of the job are on record."""

    def fence(self, identity: str) -> int:
        """Return a fence number larger than all before."""


class Attempt:
    """One run of one job. Given by `current_attempt()`; valid while the job runs.

    `jid` is the job's id, `name` its registered name, `queue` the queue it came from, `attempt` 1 on the first
    run and one more after each failure, `identity` the process that runs it.
    """

    __slots__ = ("_asked", "_crashes", "_fence", "attempt", "identity", "jid", "name", "queue")

    def __init__(self, jid: str, name: str, queue: str, attempt: int, *, identity: str, asked: Asked) -> None:
        self.jid = jid
        self.name = name
        self.queue = queue
        self.attempt = attempt
        self.identity = identity
        self._asked = asked
        self._crashes: int | None = None
        self._fence: int | None = None

    @property
    def crashes(self) -> int:
        """How often the job was started in a process that then died, within the crash window.

        Asked of Redis when first read. Raises StoreError.
        """
        if self._crashes is None:
            self._crashes = self._asked.crashes(self.jid)
        return self._crashes

    @property
    def fence(self) -> int:
        """A number that is larger than that of every attempt that drew one before.

        Drawn from Redis when first read; the same for the rest of the attempt. Let what you write to refuse a
        smaller number than it has seen (`... where fence < :fence`), and a run that was taken for dead can no
        longer overwrite its successor. Raises JobInterrupted if this process was declared dead, StoreError if
        Redis cannot be asked.
        """
        if self._fence is None:
            self._fence = self._asked.fence(self.identity)
        return self._fence

    def __repr__(self) -> str:
        """Name the job and the run."""
        return f"<Attempt {self.attempt} of {self.name} {self.jid} from {self.queue}>"


class Running(Protocol):
    """A run under way. Most jobs never ask about themselves, so an attempt is made only for those that do."""

    def attempt(self) -> Attempt:
        """Return what the job can learn about it, each time the same."""


current: ContextVar[Running] = ContextVar("reliq_attempt")
"""The run that is under way in this thread or task; set and reset by whoever runs it."""


def current_attempt() -> Attempt:
    """Return the attempt that runs in this thread or task. Raises NoAttempt outside of a job."""
    try:
        found = current.get()
    except LookupError:
        raise NoAttempt("there is no running job here; call current_attempt() inside a job") from None
    return found.attempt()


def running() -> Attempt | None:
    """Return the attempt that runs in this thread or task, None outside of a job."""
    found = current.get(None)
    return None if found is None else found.attempt()
