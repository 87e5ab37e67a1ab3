"""What the oracle says of a run."""

from __future__ import annotations

import statistics

import attrs

VOID = 3
"""The exit code of a run that does not count, in which nothing was found."""


@attrs.frozen(kw_only=True)
class Finding:
    """One thing that must not be: a promise broken, as one sentence with the job's token, if it is about one."""

    what: str
    token: int | None = None
    at: float | None = None


@attrs.frozen(kw_only=True)
class Check:
    """One promise and what became of it. `judged` counts what was looked at: nothing judged, nothing proven."""

    name: str
    promise: str
    judged: int
    findings: tuple[Finding, ...] = ()
    skipped: str = ""
    """Why this run cannot judge it, as `Redis lost writes`; empty if it can."""

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


@attrs.frozen(kw_only=True)
class Recovery:
    """How long jobs waited for their next run, in seconds, by what had been done to them.

    `bounded` are those that nothing else disturbed: only they are held against `bound`.
    """

    kind: str
    """`child`, `pod`, `ttl`, `quarantine`, `held`, ..."""
    seconds: tuple[float, ...]
    bounded: tuple[float, ...]
    bound: float | None

    def at(self, share: float) -> float:
        """The time within which this share of the jobs ran again, as `at(0.99)`; 0 without any."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0

    @property
    def median(self) -> float:
        """The middle one; 0 without any."""
        return statistics.median(self.seconds) if self.seconds else 0.0


@attrs.frozen(kw_only=True)
class Verdict:
    """The oracle's word on a run. `void`: reasons why it does not count, however clean."""

    checks: tuple[Check, ...]
    void: tuple[str, ...]
    recoveries: tuple[Recovery, ...]
    counts: dict[str, int]
    """Totals for the report: jobs sent, acked, done, buried; runs, duplicates by explanation; faults by name."""

    @property
    def findings(self) -> list[tuple[str, Finding]]:
        """All findings, each with its check's name."""
        return [(check.name, finding) for check in self.checks for finding in check.findings]

    @property
    def ok(self) -> bool:
        """Whether the run counts and nothing was found."""
        return not self.void and not self.findings
