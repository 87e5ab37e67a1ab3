"""Spans of time, against a count of ticks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chaos.oracle.spans import Spans, outside

MOMENTS = st.integers(0, 30)
SPANS = st.lists(st.tuples(MOMENTS, MOMENTS).map(lambda pair: (min(pair), max(pair))), max_size=8)


def ticks(spans: list[tuple[int, int]]) -> set[int]:
    return {tick for begin, end in spans for tick in range(begin, end)}


@given(SPANS, SPANS, MOMENTS, MOMENTS)
def test_outside_counts_what_none_covers(
    one: list[tuple[int, int]], other: list[tuple[int, int]], begin: int, end: int
) -> None:
    expected = set(range(begin, end)) - ticks(one) - ticks(other)
    assert outside(begin, end, Spans(one), Spans(other)) == len(expected)


@given(SPANS, MOMENTS, MOMENTS)
def test_touch_and_within(spans: list[tuple[int, int]], begin: int, long: int) -> None:
    end = begin + long
    assert Spans(spans).touch(begin, end) == any(first <= end and begin <= last for first, last in spans)
    parts = Spans(spans).within(begin, end)
    assert sum(last - first for first, last in parts) == len(ticks(spans) & set(range(begin, end)))
    assert parts == sorted(parts)
