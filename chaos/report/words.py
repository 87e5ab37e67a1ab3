"""How numbers and times read, the same in the terminal and on the page."""

from __future__ import annotations


def seconds(value: float) -> str:
    """A span of time: `340 ms`, `2.31 s`, `17.4 s`, `12:05`."""
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    if value < 9.995:
        return f"{value:.2f} s"
    return f"{value:.1f} s" if value < 119.95 else clock(value)


def clock(value: float) -> str:
    """A moment of a run, counted from its beginning: `12:05`."""
    whole = max(0, round(value))
    return f"{whole // 60}:{whole % 60:02}"


def many(number: int, noun: str) -> str:
    """A number and its noun: `1 kill`, `1,200 kills`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def one_line(text: str) -> str:
    """The text without breaks and control characters."""
    return "".join(letter if letter.isprintable() else " " for letter in " ".join(text.split()))
