"""Histograms of recovery times."""

import math

import pytest

from chaos.report.histogram import LEFT, RIGHT, histograms
from chaos.report.words import clock, many, one_line, seconds
from chaos.verdict import Recovery
from tests.chaos.markup_reader import read_part, text_of, with_class


def test_every_job_is_in_a_bar() -> None:
    times = (0.0, 0.0004, 0.0121, 0.0122, 0.9, 1.0, 18.2)
    recovery = Recovery(kind="child", seconds=times, bounded=times[2:], bound=2.0)
    root = read_part(histograms((recovery,)))
    bars = list(root.iter("title"))
    assert sum(int((bar.text or "").split(": ")[1].split()[0]) for bar in bars) == len(times)
    assert [len(with_class(root, kind)) for kind in ("all", "bounded", "late")] == [5, 4, 1]
    assert "1 late" in text_of(root)


def test_what_is_barely_late_shows_in_its_bar() -> None:
    times = (0.95, 0.96, 0.97, 1.001)
    root = read_part(histograms((Recovery(kind="child", seconds=times, bounded=times, bound=1.0),)))
    assert len(with_class(root, "late")) == 1
    within = (0.95, 0.96, 0.97, 1.0)
    root = read_part(histograms((Recovery(kind="child", seconds=within, bounded=within, bound=1.0),)))
    assert len(with_class(root, "late")) == 0


def test_the_bound_is_a_line_and_all_share_one_axis() -> None:
    child = Recovery(kind="child", seconds=(0.002,), bounded=(0.002,), bound=1.0)
    ttl = Recovery(kind="ttl", seconds=(18.0,), bounded=(18.0,), bound=20.0)
    none = Recovery(kind="none", seconds=(), bounded=(), bound=3.0)
    free = Recovery(kind="held", seconds=(7.0,), bounded=(), bound=None)
    root = read_part(histograms((child, ttl, none, free)))
    assert len(root) == 3, "what has no times has no picture"
    lines = [float(group[0].get("x1") or "nan") for group in with_class(root, "bound")]
    decades = (RIGHT - LEFT) / 5  # from 1 ms to 100 s
    assert lines == [
        pytest.approx(LEFT + 3 * decades, abs=0.1),
        pytest.approx(LEFT + (3 + math.log10(20)) * decades, abs=0.1),
    ]
    assert "no bound" in text_of(root[2])


def test_nothing_to_show() -> None:
    assert histograms(()) == ""


def test_words() -> None:
    said = [seconds(value) for value in (0.0, 0.0004, 0.34, 0.9996, 2.305, 9.996, 17.44, 119.96, 725)]
    assert said == ["0 ms", "0 ms", "340 ms", "1.00 s", "2.31 s", "10.0 s", "17.4 s", "2:00", "12:05"]
    assert [clock(value) for value in (-1, 0, 59.6, 3725)] == ["0:00", "0:00", "1:00", "62:05"]
    assert [many(1, "kill"), many(1200, "kill")] == ["1 kill", "1,200 kills"]
    assert one_line("a\n b\tc\x1bd\u202e") == "a b c d "
