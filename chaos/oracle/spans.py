"""Spans of time on one clock."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

Span = tuple[float, float]


class Spans:
    """Spans, merged where they touch; asked often, so kept in order."""

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        merged: list[list[float]] = []
        for begin, end in sorted(spans):
            if merged and begin <= merged[-1][1]:
                merged[-1][1] = max(merged[-1][1], end)
            else:
                merged.append([begin, end])
        self._begins = [begin for begin, _ in merged]
        self._ends = [end for _, end in merged]

    def within(self, begin: float, end: float) -> list[Span]:
        """Return the parts that lie in this span, in order."""
        first, last = bisect_right(self._ends, begin), bisect_left(self._begins, end)
        return [(max(self._begins[at], begin), min(self._ends[at], end)) for at in range(first, last)]

    def touch(self, begin: float, end: float) -> bool:
        """Whether any of them has a moment in common with this span."""
        at = bisect_left(self._ends, begin)
        return at < len(self._begins) and self._begins[at] <= end


def outside(begin: float, end: float, *several: Spans) -> float:
    """Return the seconds of a span that none of these cover; 0 if it ends before it begins."""
    if end <= begin:
        return 0.0
    union = Spans(part for spans in several for part in spans.within(begin, end))
    return end - begin - sum(stop - start for start, stop in union.within(begin, end))
