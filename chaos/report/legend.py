"""What the marks of the timeline mean, and their shapes: each harm has a shape and a colour."""

from __future__ import annotations

from chaos.report.markup import Markup, join, tag

MEANINGS = {
    "dead": "ended processes",
    "undone": "Redis lost writes",
    "none": "harmed no job",
    "alarm": "a finding",
}


def _mark(harm: str, shape: Markup) -> Markup:
    stem = tag("path", d="M0 0V31", class_="stem")
    return tag("g", stem, shape, id=harm, class_=f"mark {harm}")


SHAPES = tag(
    "svg",
    tag(
        "defs",
        tag(
            "pattern",
            tag("path", d="M0 0V6", class_="hatch"),
            id="hatch",
            width=5,
            height=6,
            patternUnits="userSpaceOnUse",
            patternTransform="rotate(40)",
        ),
        _mark("dead", tag("path", d="M-3.5-3.5L3.5 3.5M-3.5 3.5L3.5-3.5")),
        _mark("held", tag("path", d="M-3.5-3.5H3.5V3.5H-3.5Z")),
        _mark("none", tag("circle", r=3.2)),
        _mark("undone", tag("path", d="M0-5.5L5.5 0L0 5.5L-5.5 0Z")),
        tag("path", id="alarm", d="M0 6L-6-5H6Z", class_="alarm"),
    ),
    class_="shapes",
    width=0,
    height=0,
    aria_hidden="true",
)
"""Put it on the page once; `use` elements refer to it by the harm's name."""


def legend() -> Markup:
    """One line on each mark, and on what else is in the picture."""
    entries = [_entry(tag("use", href=f"#{name}", x=12, y=8), text) for name, text in MEANINGS.items()]
    entries += [
        _entry(join([_span("hatched"), tag("use", href="#held", x=5, y=8)]), "held processes up, for so long"),
        _entry(_span("outage"), "Redis was away"),
        _entry(tag("path", d="M2 2L22 14", class_="links"), "from a kill to the job's next run"),
    ]
    return tag("ul", *entries, class_="legend")


def _span(kind: str) -> Markup:
    return tag("rect", x=5, y=1, width=18, height=14, class_=f"{kind} held")


def _entry(shape: Markup, text: str) -> Markup:
    return tag("li", tag("svg", shape, width=24, height=16, aria_hidden="true"), text)
