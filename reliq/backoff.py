"""How long to wait: before a job's next attempt, and before speaking to Redis again."""

from __future__ import annotations

import random

MAX_RETRIES = 25
"""Sidekiq's default: 25 retries over some 20 days."""


def retry_delay(retry_count: int, jitter: random.Random | None = None) -> float:
    """Return the seconds until a job's next attempt, by Sidekiq 8's formula.

    `retry_count` is 0 on the first failure. count^4 + 15 seconds, plus a whole number of seconds below
    10 * (count + 1), so that jobs that failed together do not come back together.
    """
    source = jitter or random
    return float(retry_count**4 + 15 + source.randrange(10 * (retry_count + 1)))


def reconnect_delay(failures: int, longest: float) -> float:
    """Return the seconds before the next try to reach Redis after `failures` (1 or more) in a row.

    Doubles from 50 ms up to `longest`; a quarter of it is random, so that a fleet does not return as one.
    """
    delay = min(longest, 0.05 * 2.0 ** min(failures - 1, 16))
    return delay * (0.75 + 0.25 * random.random())
