"""Every error reliq raises, in one tree.

    ReliqError
      ConfigError            a setting, URL, queue name or module that cannot be used
      BadJob                 a job that cannot be written or read
        BadArguments           arguments that are not JSON, or do not fit the function
        PayloadTooLarge        the payload is over the size limit
        BadPayload             text on the wire that is not a job
        UnknownJob             no function is registered under the name
        DuplicateJob           two functions under one name
      StoreError             Redis did not do what was asked
        Unreachable            no answer; for a write: it may have been applied, or not
        Refused                Redis answered with an error; `code` is its first word
          OldServer              the server lacks a command that reliq needs
      NoAttempt              `current_attempt()` outside of a job
    Interrupt (BaseException) raised inside a running job from outside
      JobInterrupted         the process stops and the grace time is over
      JobTimeout             the job ran longer than its `timeout`

The docstring of a class says when it is raised; the message says what to do.
"""

from __future__ import annotations

_PASSING = frozenset({"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY", "NOREPLICAS", "MISCONF"})


class ReliqError(Exception):
    """The root of all errors that reliq raises on purpose."""


class ConfigError(ReliqError, ValueError):
    """A setting, URL, queue name or module that cannot be used."""


class BadJob(ReliqError, ValueError):
    """A job that cannot be written or read."""


class BadArguments(BadJob):
    """Arguments that are not JSON, or that do not fit the function's signature."""


class PayloadTooLarge(BadJob):
    """The payload is larger than `max_payload` bytes."""


class BadPayload(BadJob):
    """Text on the wire that is not a job: broken JSON, no `class`, `args` that is no list."""


class UnknownJob(BadJob):
    """No function is registered under the job's name."""


class DuplicateJob(BadJob):
    """A second function was registered under a name that is taken."""


class NoAttempt(ReliqError, RuntimeError):
    """`current_attempt()` was called outside of a running job."""


class StoreError(ReliqError):
    """Redis did not do what was asked of it."""


class Unreachable(StoreError):
    """Redis gave no answer. A write may have been applied, or not."""


class Refused(StoreError):
    """Redis answered with an error.

    `code` is the first word of the answer (`OOM`, `READONLY`, `NOPERM`, ...).
    """

    def __init__(self, message: str, code: str = "ERR") -> None:
        super().__init__(message)
        self.code = code

    @property
    def passes(self) -> bool:
        """Whether the server refuses everybody for a while: a restart, a fail-over, a full disk, a slow script."""
        return self.code in _PASSING


class OldServer(Refused):
    """The server lacks a command that reliq needs: Redis 6.2 or newer, or any Valkey."""


class Interrupt(BaseException):
    """Raised inside a running job from outside.

    Not an `Exception`, so that a job's own `except Exception` does not swallow it.
    """


class JobInterrupted(Interrupt):
    """The process stops and the grace time is over; the job goes back to its queue."""


class JobTimeout(Interrupt):
    """The job ran longer than its `timeout`; it counts as a failure."""
