"""The hunt: plays every mutant, each in a process of its own, and says which check has found it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from chaos.mutants.catalogue import MUTANTS, Mutant

MINUTES = 0.2
"""How long faults go on for one of them."""
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


@attrs.define
class _Play:
    name: str
    scenario: str
    wanted: tuple[str, ...]
    process: subprocess.Popen[str]
    directory: Path
    began: float = attrs.field(factory=time.monotonic)

    def ended(self) -> bool:
        return self.process.poll() is not None or time.monotonic() - self.began > LONGEST

    def catch(self) -> Catch:
        if self.process.poll() is None:
            self.process.terminate()
        output, _ = self.process.communicate(timeout=60)
        seconds = time.monotonic() - self.began
        verdict = self.directory / "verdict.json"
        if not verdict.exists():
            return Catch(self.name, self.scenario, self.wanted, {}, (), output[-2000:] or "no verdict", seconds)
        said = json.loads(verdict.read_text(encoding="utf-8"))
        return Catch(self.name, self.scenario, self.wanted, said["findings"], tuple(said["void"]), "", seconds)


def hunt(
    mutants: Sequence[Mutant], seed: int, *, at_once: int = 2, controls: bool = True, told: Callable[[Catch], None]
) -> list[Catch]:
    """Play these mutants, and the unbroken build in each of their plays; tell of each when it is over."""
    todo = [(mutant.name, mutant.scenario, mutant.found_by) for mutant in mutants]
    if controls:
        todo += [("", scenario, ()) for scenario in sorted({mutant.scenario for mutant in mutants})]
    catches: list[Catch] = []
    plays: list[_Play] = []
    with tempfile.TemporaryDirectory(prefix="reliq-mutants-", dir="/tmp") as name:
        while todo or plays:
            while todo and len(plays) < at_once:
                plays.append(_begin(*todo.pop(0), seed, Path(name)))
            for play in [play for play in plays if play.ended()]:
                plays.remove(play)
                catches.append(play.catch())
                told(catches[-1])
            time.sleep(0.1)
    return catches


def _begin(mutant: str, scenario: str, wanted: tuple[str, ...], seed: int, place: Path) -> _Play:
    directory = place / (mutant or f"control-{scenario}")
    directory.mkdir()
    words = [sys.executable, "-m", "chaos", "play-one", scenario, "--directory", str(directory), "--seed", str(seed)]
    words += ["--minutes", str(MINUTES), *(["--mutant", mutant] if mutant else [])]
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    return _Play(mutant or "(unbroken)", scenario, wanted, process, directory)


def by_name(names: Sequence[str]) -> list[Mutant]:
    """Return the mutants of these names, all if there are none. Raises KeyError."""
    known = {mutant.name: mutant for mutant in MUTANTS}
    return [known[name] for name in names] if names else list(MUTANTS)
