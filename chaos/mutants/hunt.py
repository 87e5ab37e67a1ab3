"""The hunt: every mutant is played in a process of its own, and so is the unbroken build in each of their plays."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs

from chaos.mutants.catalogue import MUTANTS, PLAYS, Mutant
from chaos.pool import Done, Task

MINUTES = 0.2
"""How long faults go on for one of them."""
PLAYS_EACH = 4
"""How often one is played, with other dice, before it counts as not found: whether it shows is up to the dice."""

LONGEST = 240.0
"""Seconds after which a play is given up: it has found nothing."""


@attrs.frozen
class Catch:
    """What became of one play. `findings` are the numbers of findings by check."""

    name: str
    scenario: str
    wanted: tuple[str, ...]
    findings: dict[str, int]
    void: tuple[str, ...]
    trouble: str
    seconds: float
    first: tuple[str, ...] = ()
    """The first findings, a line each."""

    @property
    def found_by(self) -> list[str]:
        """The checks that were to find it and did."""
        return [check for check in self.wanted if self.findings.get(check)]

    @property
    def ok(self) -> bool:
        """Whether a mutant was found by a check that was to find it; whether an unbroken build was clean."""
        if self.trouble:
            return False
        return bool(self.found_by) if self.wanted else not self.findings and not self.void


@attrs.frozen
class Play:
    """A broken build to be found, or the unbroken one, of which nothing is `wanted`; with these dice."""

    name: str
    scenario: str
    wanted: tuple[str, ...]
    directory: Path
    seed: int

    @property
    def task(self) -> Task:
        """How to play it."""
        words = [sys.executable, "-u", "-m", "chaos", "play-one", self.scenario, "--directory", str(self.directory)]
        words += ["--seed", str(self.seed), "--minutes", str(MINUTES)]
        return Task(self.name, (*words, *(["--mutant", self.name] if self.wanted else [])), LONGEST)

    def catch(self, done: Done) -> Catch:
        """What came of it."""
        verdict = self.directory / "verdict.json"
        if not verdict.exists():
            trouble = done.output[-2000:] or "no verdict"
            return Catch(self.name, self.scenario, self.wanted, {}, (), trouble, done.seconds)
        said = json.loads(verdict.read_text(encoding="utf-8"))
        void, first = tuple(said["void"]), tuple(said["first"])
        return Catch(self.name, self.scenario, self.wanted, said["findings"], void, "", done.seconds, first)


def plays(mutants: Sequence[Mutant], place: Path, seed: int, *, controls: bool = True) -> list[list[Play]]:
    """Return the plays of each of these mutants, with other dice each, and those of the unbroken build: one each.

    Each has a directory of its own in `place`.
    """
    found = [
        [
            Play(one.name, one.scenario, one.found_by, place / f"{one.name}-{time}", seed + time)
            for time in range(PLAYS_EACH)
        ]
        for one in mutants
    ]
    if controls:
        scenarios = sorted({mutant.scenario for mutant in mutants})
        found += [[Play(f"(unbroken {name})", name, (), place / f"control-{name}", seed)] for name in scenarios]
    # Those that take longest come first, so that nothing waits for them alone in the end.
    return sorted(found, key=lambda tries: -PLAYS[tries[0].scenario].drain_within)


def by_name(names: Sequence[str]) -> list[Mutant]:
    """Return the mutants of these names, all if there are none. Raises KeyError."""
    known = {mutant.name: mutant for mutant in MUTANTS}
    return [known[name] for name in names] if names else list(MUTANTS)
