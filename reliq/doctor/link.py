"""The way to the server: how far the clocks are apart, and how long an answer takes."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from reliq.doctor.finding import Finding, Kind, Level, well
from reliq.doctor.subject import Subject

SKEW = 1.0
"""Seconds. Scheduled jobs come within a quarter of a second; more than this is noticed."""

LARGE_SKEW = 60.0

SLOW = 0.005
"""Seconds of one round trip. Within a data centre it is a tenth of that."""

CLOCK_SKEW = Kind(
    "clock-skew",
    Level.WARNING,
    "this machine's clock is {seconds:.1f} s {direction} that of Redis",
    "Scheduled jobs and retries come so much too early or late where such a clock decides, and latencies are wrong.",
    "Let NTP or chrony keep the clocks of all machines.",
)
LARGE_CLOCK_SKEW = Kind(
    "large-clock-skew",
    Level.PROBLEM,
    "this machine's clock is {seconds:.1f} s {direction} that of Redis",
    "A worker with such a clock runs scheduled jobs minutes too early or too late.",
    "Set the clock, and let NTP or chrony keep it.",
)


def clock(subject: Subject) -> Iterator[Finding]:
    """Our clock against the server's. Of five looks the one with the fastest answer counts."""
    looks = []
    for _ in range(5):
        before = subject.clock.wall()
        theirs = subject.server_time()
        after = subject.clock.wall()
        looks.append((after - before, (before + after) / 2 - theirs))
    trip, ahead = min(looks)
    # Half a round trip is what a look may be wrong by.
    sure = max(0.0, abs(ahead) - trip / 2)
    if sure >= SKEW:
        kind = CLOCK_SKEW if sure < LARGE_SKEW else LARGE_CLOCK_SKEW
        yield kind.found(seconds=abs(ahead), direction="ahead of" if ahead > 0 else "behind")
    else:
        yield well(f"this machine's clock and that of Redis agree within {abs(ahead) + trip / 2:.3f} s")


SLOW_TRIPS = Kind(
    "slow-round-trips",
    Level.WARNING,
    "a round trip takes {median}, the worst of {count} took {worst}",
    "A turn is one round trip, and so is the way of an idle worker to its next job. So many jobs fewer are done.",
    "Put workers and Redis near to each other: one zone, no proxy or VPN between them.",
)
BEATS_AT_RISK = Kind(
    "beats-at-risk",
    Level.WARNING,
    "the slowest of {count} round trips took {worst}, and a beat may take {most} with a TTL of {ttl:g} s",
    "A process whose beat is not confirmed within half a TTL starts no jobs until it is.",
    "Raise ttl, for all workers and reapers alike, or find out what slows Redis down (SLOWLOG GET, LATENCY DOCTOR).",
)
BEATS_TOO_SLOW = Kind(
    "beats-too-slow",
    Level.PROBLEM,
    "the slowest of {count} round trips took {worst}, but a beat may take {most} with a TTL of {ttl:g} s",
    "A process whose beat is not confirmed within half a TTL starts no jobs until it is. Here that will happen often.",
    "Raise ttl, for all workers and reapers alike, or find out what slows Redis down (SLOWLOG GET, LATENCY DOCTOR).",
)


def latency(subject: Subject) -> Iterator[Finding]:
    """Round trips, by themselves and against the time that a heartbeat has."""
    trips = []
    for _ in range(subject.pings):
        began = subject.clock.mono()
        subject.call("PING")
        trips.append(subject.clock.mono() - began)
    median, worst, count = statistics.median(trips), max(trips), len(trips)
    config = subject.config
    # The next beat is sent one `beat` after the last, and must be answered while that one is younger than half a TTL.
    most = config.ttl / 2 - config.beat
    if worst > most / 2:
        kind = BEATS_TOO_SLOW if worst > most else BEATS_AT_RISK
        yield kind.found(count=count, worst=_time(worst), most=_time(most), ttl=config.ttl)
    if median > SLOW:
        yield SLOW_TRIPS.found(median=_time(median), count=count, worst=_time(worst))
    elif worst <= most / 2:
        yield well(f"a round trip takes {_time(median)}, the worst of {count} took {_time(worst)}")


def _time(seconds: float) -> str:
    return f"{seconds * 1000:,.2f} ms" if seconds < 1 else f"{seconds:.1f} s"
