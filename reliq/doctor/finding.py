"""Findings: what a check can say, in words that are written once.

Each kind of finding stands beside the check that makes it. `docs/doctor.md` has a row for each; a test compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import attrs

FULL = 0.8
"""Part of a limit from which on it is worth a warning."""


class Level(IntEnum):
    """How bad a finding is. A note is worth knowing, a warning worth changing, a problem loses jobs or stops them."""

    OK = 0
    NOTE = 1
    WARNING = 2
    PROBLEM = 3

    @property
    def word(self) -> str:
        """The level as people and JSON read it."""
        return self.name.lower()


class Unknown(Exception):
    """The server does not say what a check has to know; the text says what."""


@attrs.frozen
class Finding:
    """One thing that a check found: what it is, why it matters, what to do. The last two are empty if all is well."""

    check: str
    name: str
    level: Level
    what: str
    why: str = ""
    do: str = ""


@attrs.frozen
class Kind:
    """A finding that can be made. `what` has names in braces, for the numbers of the case."""

    name: str
    level: Level
    what: str
    why: str
    do: str

    def found(self, **details: object) -> Finding:
        """Return the finding with its details. `examine` puts in which check it was."""
        return Finding("", self.name, self.level, self.what.format(**details), self.why, self.do)


def well(what: str) -> Finding:
    """Return the finding that there is nothing to complain of."""
    return Finding("", "ok", Level.OK, what)


def some(names: Sequence[str], most: int = 3) -> str:
    """Return names for a sentence: the first few, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


UNCHECKED = Kind(
    "unchecked",
    Level.NOTE,
    "could not be checked: {reason}",
    "What this check looks for may be there, and nobody has seen it.",
    "Run the doctor as a user who may ask, or look at the server's settings by hand.",
)
