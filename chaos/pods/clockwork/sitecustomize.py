"""Lets a pod's wall clock be set wrong while it runs: `time.time()` is off by the seconds in the file CHAOS_CLOCK.

Python imports this module by its name when it starts. Nothing else of the machine sees the wrong time.
"""

import os
import time

_true_time = time.time
_file = os.environ.get("CHAOS_CLOCK", "")


def _wrong_time() -> float:
    try:
        with open(_file, "rb") as file:  # noqa: PTH123 - this runs in every process, before anything else is imported
            return _true_time() + float(file.read() or b"0")
    except (OSError, ValueError):
        return _true_time()


if _file:
    time.time = _wrong_time
