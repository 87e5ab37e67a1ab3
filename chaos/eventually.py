"""Waiting for a condition. Tests never sleep for a fixed time; this is the only place that sleeps at all."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL = 0.005
"""Seconds between two looks."""


def eventually(condition: Callable[[], T], within: float = 5.0, why: str = "") -> T:
    """Call `condition` until it is true, and return what it returned.

    `within` is in seconds. An AssertionError of the condition counts as "not yet", any other error goes through. At the
    deadline: AssertionError with `why` and the last answer.
    """
    __tracebackhide__ = True
    deadline = time.monotonic() + within
    while True:
        late = time.monotonic() >= deadline
        error = None
        answer = None
        try:
            answer = condition()
        except AssertionError as reason:
            error = reason
        if answer:
            return answer
        if late:
            last = f"it failed with {error}" if error else f"the last answer was {answer!r}"
            raise AssertionError(f"not within {within:g} s: {why or repr(condition)}; {last}") from error
        time.sleep(POLL)
