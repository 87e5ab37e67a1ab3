"""Histograms of recovery times, one for each kind, all with the same logarithmic axis, so that they compare."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from chaos.report.markup import Markup, tag
from chaos.report.summary import late
from chaos.report.words import many, one_line, seconds
from chaos.verdict import Recovery

WIDTH, HEIGHT = 328, 150
LEFT, RIGHT, TOP, BOTTOM = 18, 310, 40, 124
PER_DECADE = 10
"""Bins between 1 s and 10 s."""

LEAST = 0.001
"""Seconds: what took less is counted as this."""


def histograms(recoveries: tuple[Recovery, ...]) -> Markup:
    """All of them that have times, in a grid; one below the other on a phone."""
    shown = [recovery for recovery in recoveries if recovery.seconds]
    if not shown:
        return Markup()
    times = [time for recovery in shown for time in (*recovery.seconds, recovery.bound or recovery.seconds[0])]
    first = math.floor(_log(min(times)))
    last = max(math.ceil(_log(max(times)) + 0.05), first + 1)
    return tag("div", *(_Histogram(recovery, first, last).draw() for recovery in shown), class_="histograms")


class _Histogram:
    def __init__(self, recovery: Recovery, first: int, last: int) -> None:
        self._recovery = recovery
        self._first = first
        self._last = last
        self._all = _binned(recovery.seconds)
        self._bounded = _binned(recovery.bounded)
        self._late = _binned(late(recovery))
        self._most = max(self._all.values())

    def draw(self) -> Markup:
        recovery = self._recovery
        said = f"{recovery.kind}: {many(len(recovery.seconds), 'job')}, p99 {seconds(recovery.at(0.99))}"
        figure = tag(
            "svg",
            self._axis(),
            tag("g", *(self._bar(number) for number in sorted(self._all))),
            self._bound(),
            viewBox=f"0 0 {WIDTH} {HEIGHT}",
            role="img",
            aria_label=one_line(f"Histogram of recovery times, {said}"),
        )
        over = len(late(recovery))
        alarm = tag("strong", f"{over:,} late", class_="bad") if over else ""
        caption = tag("figcaption", tag("b", recovery.kind), " ", many(len(recovery.seconds), "job"), " ", alarm)
        return tag("figure", caption, figure, class_="histogram")

    def _x(self, log: float) -> float:
        return LEFT + (log - self._first) / (self._last - self._first) * (RIGHT - LEFT)

    def _axis(self) -> Markup:
        parts = [tag("line", x1=LEFT, x2=RIGHT, y1=height, y2=height) for height in (TOP, BOTTOM)]
        parts.append(tag("text", f"{self._most:,}", x=LEFT, y=TOP - 6))
        for decade in range(self._first, self._last + 1):
            x = self._x(decade)
            parts.append(tag("line", x1=x, x2=x, y1=TOP, y2=BOTTOM + 4))
            parts.append(tag("text", _decade(decade), x=x, y=BOTTOM + 19, text_anchor="middle"))
        return tag("g", *parts, class_="grid")

    def _bar(self, number: int) -> Markup:
        """One bin: all its jobs pale, those that are held against the bound solid, those that were late alarming."""
        x, right = (self._x(edge / PER_DECADE) for edge in (number, number + 1))
        parts = [
            tag("rect", x=x, y=BOTTOM - height, width=right - x - 1, height=height, class_=kind)
            for kind, jobs in (("all", self._all), ("bounded", self._bounded), ("late", self._late))
            if (height := self._height(jobs[number]))
        ]
        since, until = (seconds(10 ** (edge / PER_DECADE)) for edge in (number, number + 1))
        return tag("g", tag("title", f"{since} to {until}: {many(self._all[number], 'job')}"), *parts)

    def _height(self, jobs: int) -> float:
        """One job among thousands still shows."""
        return max(jobs / self._most * (BOTTOM - TOP), 2.0) if jobs else 0.0

    def _bound(self) -> Markup:
        bound = self._recovery.bound
        if bound is None:
            return tag("text", "no bound", x=RIGHT, y=14, text_anchor="end", class_="note")
        x = self._x(_log(bound))
        left = x > (LEFT + RIGHT) / 2
        return tag(
            "g",
            tag("line", x1=x, x2=x, y1=4, y2=BOTTOM),
            tag(
                "text",
                f"bound {seconds(bound)}",
                x=x - 5 if left else x + 5,
                y=14,
                text_anchor="end" if left else "start",
            ),
            class_="bound",
        )


def _log(value: float) -> float:
    return math.log10(max(value, LEAST))


def _binned(times: Iterable[float]) -> Counter[int]:
    return Counter(math.floor(_log(time) * PER_DECADE + 1e-9) for time in times)


def _decade(decade: int) -> str:
    return f"{1000 * 10**decade:g} ms" if decade < 0 else f"{10**decade:g} s"
