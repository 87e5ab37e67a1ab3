"""How an attempt ended: a closed set of values, and the one rule from an error to an outcome."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable

import attrs

from reliq.backoff import MAX_RETRIES, retry_delay
from reliq.edit import with_fields
from reliq.errors import BadArguments, BadPayload, JobInterrupted
from reliq.job import Job, text_of

MAX_MESSAGE = 10_000
"""Characters of an error message that are kept, as in Sidekiq."""


@attrs.frozen
class Done:
    """The function returned."""


@attrs.frozen
class Retry:
    """The attempt failed; the job runs again at `at` (epoch seconds) as `payload`."""

    at: float
    payload: bytes
    error: str


@attrs.frozen
class Bury:
    """The job goes to the dead set as `payload`."""

    payload: bytes
    error: str


@attrs.frozen
class Drop:
    """The attempt failed and the job says `retry: false`: it is forgotten, as in Sidekiq."""

    error: str


@attrs.frozen
class Release:
    """The job goes back to the front of its queue, unharmed."""


Outcome = Done | Retry | Bury | Drop | Release

DONE = Done()
"""What nearly every attempt comes to."""


def describe(error: BaseException) -> tuple[str, str]:
    """Return an error's class and message as they are stored: text that JSON can carry."""
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - a user's __str__ may do anything; its failure must not lose the job
        message = "(the error's own __str__ failed)"
    return text_of(type(error).__qualname__), text_of(message)[:MAX_MESSAGE]


def where(error: BaseException) -> str:
    """Return an error's traceback as text, for the log."""
    try:
        return "".join(traceback.format_exception(error)).rstrip()
    except Exception:  # noqa: BLE001 - an error may lie about itself so that not even its traceback can be written
        return "".join(traceback.format_tb(error.__traceback__)).rstrip()


def of_error(
    raw: bytes,
    job: Job | None,
    error: BaseException,
    *,
    retry: bool | int | None = None,
    limit: int | None = None,
    queue: str | None = None,
    now: float | None = None,
    delay: Callable[[int], float] = retry_delay,
) -> Outcome:
    """Return what becomes of a job whose attempt raised `error`.

    `job` is the decoded payload, None when it cannot be read. `retry` is the default of the function's
    definition, used when the payload itself says nothing; `limit` overrules both. `queue` is where it
    came from, written into a payload that does not say. `now` is epoch seconds.
    """
    if isinstance(error, JobInterrupted):
        return Release()
    now = time.time() if now is None else now
    name, message = describe(error)
    line = f"{name}: {message}"
    if job is None or isinstance(error, BadPayload | BadArguments):
        # Nothing that time could mend: the same text would fail in the same way 25 times.
        return Bury(bury_payload(raw, name, message, now), line)
    wanted = job.retry if job.retry is not None else retry
    if limit is None:
        if wanted is False:
            return Drop(line)
        limit = MAX_RETRIES if wanted is None or wanted is True else int(wanted)
    count = 0 if job.retry_count is None else job.retry_count + 1
    fields: dict[str, object] = {"error_class": name, "error_message": message, "retry_count": count}
    if job.queue is None and queue is not None:
        fields["queue"] = queue
    if job.retry_count is None:
        fields["failed_at"] = now
    else:
        fields["retried_at"] = now
    try:
        payload = with_fields(raw, fields)
    except BadPayload as unwritable:
        # Nested too deep to be edited: kept as it is, where an operator sees it.
        return Bury(raw, f"{line} ({unwritable})")
    if count >= limit:
        return Bury(payload, line)
    return Retry(now + delay(count), payload, line)


def bury_payload(raw: bytes, name: str, message: str, now: float) -> bytes:
    """Return the payload with the reason of its death, or the bytes as they are if that cannot be written."""
    try:
        return with_fields(raw, {"error_class": name, "error_message": message, "failed_at": now})
    except BadPayload:
        return raw
