"""Paces: how long the jobs of each queue ran lately, kept in Redis for whoever asks when nobody works.

One field a queue, `runs:seconds:time`: how many runs and how many seconds they took in all, both halved for each
HALF_LIFE that has passed since. Their quotient is a mean in which each run counts, and an old one hardly. It is
read, changed and written without a lock: two processes at the same instant lose one of two samples, of an estimate.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from reliq.errors import StoreError
from reliq.store.connection import Link
from reliq.store.keys import Key

HALF_LIFE = 60.0
"""Seconds after which a run counts half."""


@attrs.frozen
class Ran:
    """So many runs, and the seconds that they took in all."""

    runs: float
    seconds: float

    @property
    def mean(self) -> float | None:
        """Seconds of one run; None if there was none."""
        return self.seconds / self.runs if self.runs > 0 else None


def mix(link: Link, key: Key, news: Mapping[str, Ran], now: float) -> None:
    """Add the runs of some queues; `now` is epoch seconds. A Redis that is full, or refuses, keeps the old ones."""
    if not news:
        return
    [texts] = link.call_many([("HMGET", key, *news)])  # not `call`: a refusal is nothing to stop for
    if isinstance(texts, StoreError):
        return
    flat: list[str] = []
    for (queue, new), text in zip(news.items(), texts, strict=True):
        old, at = _read(text)
        kept = 0.5 ** (max(0.0, now - at) / HALF_LIFE)
        flat += (queue, f"{old.runs * kept + new.runs:.6g}:{old.seconds * kept + new.seconds:.6g}:{now:.3f}")
    link.call_many([("HSET", key, *flat)])


def read(texts: Mapping[bytes, bytes]) -> dict[str, Ran]:
    """Return what the fields say, by queue; as of when each was written."""
    return {name.decode(): _read(text)[0] for name, text in texts.items()}


def _read(text: bytes | None) -> tuple[Ran, float]:
    try:
        runs, seconds, at = (float(part) for part in (text or b"").split(b":"))
    except ValueError:
        return Ran(0.0, 0.0), 0.0
    return Ran(runs, seconds), at
