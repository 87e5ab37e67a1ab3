"""What Sidekiq's own web view expects to read about a process, in all its versions.

Its readers differ: 6 and 7 take `concurrency` from `info`, 8.1 from a field of the hash; `queues` and `weights` give
way to `capsules`. So all of them are written.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import orjson

from reliq.server.executor.run import Run
from reliq.store.processes import Entry


def process_fields(
    entry: Entry, *, mode: str, weights: Mapping[str, int], busy: int, now: float, rtt_us: int, quiet: bool
) -> dict[str, str | int | float]:
    """Return the fields of a process's hash. `mode` is the order of the queues, `now` epoch seconds."""
    capsule = {"concurrency": entry.concurrency, "mode": mode, "weights": weights}
    info = {
        "hostname": entry.host,
        "started_at": entry.started,
        "pid": entry.pid,
        "tag": "reliq",
        "concurrency": entry.concurrency,
        "queues": list(entry.queues),
        "labels": ["quarantine"] if entry.quarantine else [],
        "identity": entry.identity,
        "weights": [weights],
        "version": entry.version,
        "embedded": False,
        "capsules": {"default": capsule},
    }
    return {
        "info": orjson.dumps(info).decode(),
        "concurrency": entry.concurrency,
        "busy": busy,
        "beat": repr(now),
        "quiet": "true" if quiet else "false",
        "rss": _rss_kib(entry.pid),
        "rtt_us": rtt_us,
    }


def work_of(runs: Iterable[Run]) -> dict[str, bytes]:
    """Return the entries of a process's work hash: thread id to what it runs, `run_at` in whole seconds."""
    since = time.time() - time.monotonic()
    # The thread is read once: a run may end, and lose it, at any moment.
    return {
        f"{thread:x}": orjson.dumps(
            {
                "queue": run.queue,
                "payload": run.claim.payload.decode("utf-8", "replace"),
                "run_at": int(since + run.begun),
            }
        )
        for run, thread in [(run, run.thread) for run in runs]
        if thread is not None
    }


def _rss_kib(pid: int) -> int:
    # Linux only; elsewhere the view shows 0.
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * (os.sysconf("SC_PAGE_SIZE") // 1024)
