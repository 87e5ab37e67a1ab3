"""A queue of a few lines, to measure the benchmark by: `python -m tests.bench.fake_app KIND`.

`safe`: moves a job to a list of its own and removes it when it has run. `lossy`: takes it out first. `late`: removes it
half a second after the last one has run. `broken`: ends at once.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any, cast

import redis

from bench.apps import work
from tests.bench.names import HELD, LATE, WAITING

JOBS: dict[str, Any] = {
    "count": work.count,
    "pause": work.pause,
    "stamp": work.stamp,
    "warm": work.warm,
    "hold": work.hold,
}

client = redis.Redis.from_url(work.URL)


def send(name: str, *args: Any) -> None:
    """Enqueue one job."""
    client.lpush(WAITING, json.dumps([name, *args]))


def main() -> None:
    """Work until killed."""
    kind = sys.argv[1]
    if kind == "broken":
        sys.exit("it is broken on purpose")
    while True:
        if kind == "lossy":
            popped = cast(tuple[bytes, bytes] | None, client.brpop(WAITING, 1))
            payload = popped and popped[1]
        else:
            payload = cast(bytes | None, client.blmove(WAITING, HELD, 1, "RIGHT", "LEFT"))
        if payload is None:
            continue
        name, *args = json.loads(payload)
        JOBS[name](*args)
        if kind == "late" and not client.llen(WAITING):
            time.sleep(LATE)
        client.lrem(HELD, 1, cast(str, payload))


if __name__ == "__main__":
    main()
