"""The timeline: pods as lanes over the time of the run, with what struck them and what came of it.

Its size follows from pods, faults and its own width, never from the number of jobs: runs are counted in bins.
"""

from __future__ import annotations

from collections import Counter, defaultdict

import attrs

from chaos.records import FaultRecord, Final, Harm, PodEvent, Run
from chaos.report.lanes import REDIS, Incarnation, Lanes
from chaos.report.links import Link, links
from chaos.report.markup import Markup, tag
from chaos.report.words import clock, many, one_line, seconds
from chaos.verdict import Finding

LINKS = 200
"""How many recoveries are drawn, the longest first."""

MARKED = 200
"""How many findings are drawn."""

GUTTER = 104
"""Pixels, for the names of the lanes. They stand beside the picture, so that they stay when it is scrolled."""

HEAD = 104.0
"""Height of the chart of finished jobs."""

ALARMS = 28.0
"""Height of the lane of findings, if there are any."""

LANE = 46.0
SIGNS = 10.0
BAR_TOP, BAR = 19.0, 22.0
"""Height of a lane; in it, counted from its top, the middle of the faults' marks, and the bar of the pod below them."""

FOOT = 34.0
BIN = 4
"""Pixels that one bin is wide."""

GRAVITY: tuple[Harm, ...] = ("none", "held", "dead", "undone")

TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
"""Seconds between two ticks."""


@attrs.frozen(kw_only=True)
class Story:
    """What is drawn. `runs` are by token and start, the others by time."""

    began: float
    ended: float
    runs: list[Run]
    faults: list[FaultRecord]
    events: list[PodEvent]
    findings: list[tuple[str, Finding]]
    final: Final | None


def timeline(story: Story) -> Markup:
    """The picture, in a box that scrolls sideways where it is wider than the window."""
    return _Timeline(story).draw()


class _Timeline:
    def __init__(self, story: Story) -> None:
        self._story = story
        self._lanes = Lanes(story.events, story.faults)
        self._length = max(story.ended - story.began, 1.0)
        self._width = int(max(1040, 34 * self._length / 60))
        self._top = HEAD + ALARMS * bool(story.findings)
        self._bottom = self._top + LANE * len(self._lanes.names)
        self._height = self._bottom + FOOT
        self._links = links(story.runs, story.faults, self._lanes)
        self._runs_by_token: defaultdict[int, list[Run]] = defaultdict(list)
        for run in story.runs:
            self._runs_by_token[run.token].append(run)

    def draw(self) -> Markup:
        layers = (
            self._grid(),
            self._throughput(),
            *(self._bar(one) for one in self._lanes.incarnations),
            self._redis(),
            self._work(),
            tag("g", *self._spans(), class_="spans"),
            tag("g", *(self._link(link) for link in self._links[:LINKS]), class_="links"),
            tag("g", *self._marks(), class_="marks"),
            *self._ends(),
            tag("g", *self._alarms(), class_="alarms"),
        )
        picture = tag(
            "svg",
            *layers,
            role="img",
            aria_label=f"Timeline of {many(len(self._lanes.names), 'lane')} over {clock(self._length)}",
            **_size(self._width, self._height),
        )
        return tag("div", self._names(), picture, class_="timeline scroll", tabindex=0)

    # -- where things are

    def _x(self, moment: float) -> float:
        return min(max(moment - self._story.began, 0.0), self._length) / self._length * (self._width - 1)

    def _y(self, lane: str) -> float:
        """The top of a lane."""
        return self._top + LANE * self._lanes.names.index(lane)

    def _middle(self, lane: str) -> float:
        """The middle of a lane's bar."""
        return self._y(lane) + BAR_TOP + BAR / 2

    def _said(self, moment: float) -> str:
        return clock(moment - self._story.began)

    # -- the ground

    def _names(self) -> Markup:
        rows = [("jobs done", HEAD - 30)]
        rows += [("findings", HEAD + ALARMS / 2)] if self._story.findings else []
        rows += [(name, self._middle(name)) for name in self._lanes.names]
        texts = [
            tag("text", tag("title", name), name if len(name) <= 14 else f"{name[:13]}\N{HORIZONTAL ELLIPSIS}", y=y + 4)
            for name, y in rows
        ]
        return tag("svg", *texts, class_="names", **_size(GUTTER, self._height))

    def _grid(self) -> Markup:
        step = next((step for step in TICKS if self._length / step <= 16), TICKS[-1])
        parts = []
        for number in range(int(self._length // step) + 1):
            x = self._x(self._story.began + number * step)
            anchor = "start" if x < 20 else "end" if x > self._width - 20 else "middle"
            parts.append(tag("line", x1=x, x2=x, y1=0, y2=self._bottom + 4))
            parts.append(tag("text", clock(number * step), x=x, y=self._bottom + 20, text_anchor=anchor))
        return tag("g", *parts, class_="grid")

    def _throughput(self) -> Markup:
        counts = self._binned(
            [run.ended_at for run in self._story.runs if run.outcome == "done" and run.ended_at is not None]
        )
        most = max(counts.values(), default=0)
        rate = most / self._length * self._width / BIN
        return tag(
            "g",
            tag("path", d=self._area(counts, HEAD - 8, (HEAD - 46) / max(most, 1)), class_="done"),
            tag("text", f"peak {rate:,.0f} a second", x=6, y=14, class_="note"),
        )

    def _bar(self, one: Incarnation) -> Markup:
        """A pod from start to end: pale until it is ready, pale again once it was told to go."""
        end = self._story.ended if one.ended is None else one.ended
        ready = end if one.ready is None else min(one.ready, end)
        told = end if one.told is None else max(one.told, ready)
        parts = [(one.began, ready, "starting"), (ready, told, "up"), (told, end, "leaving")]
        rects = [self._rect(since, until, one.lane, name) for since, until, name in parts if until > since]
        title = f"{one.pod}: {self._said(one.began)} to {self._said(end)}"
        title += "" if one.ready is None else f", ready after {seconds(one.ready - one.began)}"
        title += "" if one.killed is None else f", killed at the end of its grace at {self._said(one.killed)}"
        title += ", still there at the end" if one.ended is None else f", exit code {one.code}"
        return tag("g", tag("title", one_line(title)), *rects, class_="pod")

    def _redis(self) -> Markup:
        return tag("g", self._rect(self._story.began, self._story.ended, REDIS, "up"))

    def _work(self) -> Markup:
        """In each lane, how much was finished there."""
        ends: defaultdict[str, list[float]] = defaultdict(list)
        for run in self._story.runs:
            lane = self._lanes.of_run(run)
            if lane is not None and run.ended_at is not None:
                ends[lane].append(run.ended_at)
        counts = {lane: self._binned(moments) for lane, moments in ends.items()}
        most = max((max(counted.values()) for counted in counts.values()), default=1)
        paths = [
            tag("path", d=self._area(counted, self._middle(lane) + BAR / 2, (BAR - 2) / most))
            for lane, counted in sorted(counts.items())
        ]
        return tag("g", *paths, class_="work")

    # -- what struck, and what came of it

    def _spans(self) -> list[Markup]:
        """What lasted: hatched where it held up a pod, solid where Redis was away."""
        found = []
        for fault in self._story.faults:
            if not _lasts(fault):
                continue
            until = self._story.ended if fault.ended_at is None else fault.ended_at
            for lane in self._lanes.of_fault(fault):
                title = tag("title", self._about(fault))
                kind = f"span {'outage' if fault.outage else 'hatched'} {fault.harm}"
                rect = self._rect(fault.at, until, lane, kind, least=3.0)
                found.append(tag("g", title, rect))
        return found

    def _marks(self) -> list[Markup]:
        """A mark above the bar for each fault, with a stem through it; the graver lie over the lighter."""
        return [
            tag(
                "use",
                tag("title", self._about(fault)),
                href=f"#{fault.harm}",
                x=self._x(fault.at),
                y=self._y(lane) + SIGNS,
            )
            for fault in sorted(self._story.faults, key=lambda fault: GRAVITY.index(fault.harm))
            for lane in self._lanes.of_fault(fault)
        ]

    def _about(self, fault: FaultRecord) -> str:
        lasted = ""
        if _lasts(fault):
            lasted = " to the end" if fault.ended_at is None else f" for {seconds(fault.ended_at - fault.at)}"
        flight = many(fault.in_flight, "job") + " in flight"
        return one_line(f"{self._said(fault.at)} {fault.name} of {fault.target}{lasted}, {flight} ({fault.harm})")

    def _link(self, link: Link) -> Markup:
        there = self._lanes.of_run(link.lost) or self._lanes.of_fault(link.fault)[0]
        here = self._lanes.of_run(link.again) or there
        title = f"job {link.lost.token}: {link.fault.name} at {self._said(link.fault.at)}, ran again after "
        return tag(
            "line",
            tag("title", one_line(title + seconds(link.seconds))),
            x1=self._x(link.fault.at),
            y1=self._middle(there),
            x2=self._x(link.again.started_at),
            y2=self._middle(here),
        )

    def _ends(self) -> list[Markup]:
        """When the faults stopped and when nothing was left to do."""
        final = self._story.final
        if final is None:
            return []
        moments = [(final.faults_ended_at, "faults stop", 14), (final.drained_at, "drained", 30)]
        return [
            tag(
                "g",
                tag("line", x1=self._x(moment), x2=self._x(moment), y1=0, y2=self._bottom),
                tag("text", f"{name} {self._said(moment)}", x=self._x(moment) - 5, y=y, text_anchor="end"),
                class_="end",
            )
            for moment, name, y in moments
            if moment is not None
        ]

    def _alarms(self) -> list[Markup]:
        """Findings that have a moment, and the runs of their jobs in the lanes where they ran."""
        found = []
        for name, finding in self._story.findings[:MARKED]:
            runs = [] if finding.token is None else self._runs_by_token[finding.token]
            moment = finding.at if finding.at is not None else runs[-1].started_at if runs else None
            if moment is None:
                continue
            x = self._x(moment)
            title = tag("title", one_line(f"{self._said(moment)} {name}: {finding.what}"))
            found.append(tag("line", x1=x, x2=x, y1=HEAD + ALARMS / 2, y2=self._bottom))
            found.append(tag("use", title, href="#alarm", x=x, y=HEAD + ALARMS / 2))
            found += [self._alarming(run) for run in runs]
        return found

    def _alarming(self, run: Run) -> Markup:
        lane = self._lanes.of_run(run)
        if lane is None:
            return Markup()
        until = run.started_at if run.ended_at is None else run.ended_at
        ended = "never said that it ended" if run.ended_at is None else f"{run.outcome} {self._said(until)}"
        title = f"job {run.token}, run {run.run}: started {self._said(run.started_at)}, {ended}"
        rect = self._rect(run.started_at, until, lane, "run", least=3.0)
        return tag("g", tag("title", one_line(title)), rect)

    # -- strokes

    def _rect(self, since: float, until: float, lane: str, kind: str, *, least: float = 0.5) -> Markup:
        x, y = self._x(since), self._y(lane) + BAR_TOP
        return tag("rect", x=x, y=y, width=max(self._x(until) - x, least), height=BAR, class_=kind)

    def _binned(self, moments: list[float]) -> Counter[int]:
        return Counter(int(self._x(moment) // BIN) for moment in moments)

    def _area(self, counts: Counter[int], base: float, scale: float) -> str:
        """The outline of the bins, each so high above `base` as it counts times `scale`."""
        steps = [
            f"H{number * BIN}V{base - counts[number] * scale:.1f}"
            for number in range(self._width // BIN + 1)
            if counts[number] != counts[number - 1]
        ]
        return f"M0 {base:g}{''.join(steps)}H{self._width}V{base:g}Z"


def _lasts(fault: FaultRecord) -> bool:
    """Whether it did harm from its beginning to its end; a kill does all of it at once, however long that took."""
    return fault.harm == "held" or fault.outage


def _size(width: int, height: float) -> dict[str, str | float | None]:
    return {"width": width, "height": height, "viewBox": f"0 0 {width:g} {height:g}"}
