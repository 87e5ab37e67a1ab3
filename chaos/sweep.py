"""Programs that must all go well, several at the same time: crash points, random runs, the hunt for mutants."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import attrs
from rich.console import Console

from chaos.mutants.catalogue import Mutant
from chaos.mutants.hunt import PLAYS_EACH, Play, plays
from chaos.pool import Done, Task, run_all
from chaos.scenarios import SCENARIOS
from chaos.verdict import VOID

OWN = (sys.executable, "-u", "-m", "chaos")
BRIEF = SCENARIOS.keys() - {"poison", "gil"}
"""What half a minute is enough for: in the others memory is eaten, or an interpreter held, for longer than that."""


@attrs.frozen
class Result:
    """What came of a try. `again`: the next one counts in its place, if there is one. `lines` tell it."""

    ok: bool
    again: bool
    lines: Sequence[str]


@attrs.frozen
class Try:
    """A program, and how to judge its end."""

    task: Task
    judge: Callable[[Done], Result]


Leg = Sequence[Try]
"""Something that must go well, and its tries: with other dice each."""


def all_well(legs: Sequence[Leg], console: Console, at_once: int) -> bool:
    """Run the programs of all legs, say what came of each, and return whether all went well."""
    good = True
    tries = {leg[0].task.name: leg for leg in legs}
    todo = [leg[0].task for leg in legs]
    for done in run_all(todo, at_once):
        this, *more = tries[done.task.name]
        result = this.judge(done)
        for line in result.lines:
            console.print(line, highlight=False, markup=False)
        if result.again and more:
            tries[done.task.name] = more
            todo.append(more[0].task)
        else:
            good &= result.ok
    console.print("all as it must be" if good else "NOT as it must be", highlight=False)
    return good


def crash_points() -> Leg:
    """All crash points; once, as they throw no dice."""
    return [Try(Task("points", (*OWN, "points"), 600.0), _ended)]


def random_runs(seed: int, minutes: float) -> list[Leg]:
    """`everything` and two other scenarios. A run that does not count is no answer, and played again."""
    names = ["everything", *random.Random(seed).sample(sorted(BRIEF - {"everything"}), 2)]
    legs: list[Leg] = []
    for number, name in enumerate(names, seed):
        words = [*OWN, "run", name, "--minutes", str(minutes)]
        seeds = range(number, number + PLAYS_EACH * len(names), len(names))
        tasks = [Task(f"run {name}", (*words, "--seed", str(dice)), minutes * 60 + 300.0) for dice in seeds]
        legs.append([Try(task, _ended) for task in tasks])
    return legs


def hunt(mutants: Sequence[Mutant], place: Path, seed: int, *, controls: bool = True) -> list[Leg]:
    """These mutants, and the unbroken build in the same plays. A mutant that was not found is played again."""
    found = plays(mutants, place, seed, controls=controls)
    return [[Try(play.task, partial(_caught, play)) for play in tries] for tries in found]


def _ended(done: Done) -> Result:
    """Judge a program that says by its exit code how it went."""
    word = {0: "ok", None: "TOO LONG", VOID: "VOID"}.get(done.code, "NOT OK")
    lines = [f"{word:9} {done.task.name:20} {done.seconds:4.0f} s", done.output.rstrip()]
    return Result(done.code == 0, done.code == VOID, lines)


def _caught(play: Play, done: Done) -> Result:
    catch = play.catch(done)
    how = ", ".join(f"{check} ({count})" for check, count in catch.findings.items()) or "nothing found"
    word = "ok" if catch.ok else "NOT FOUND" if catch.wanted else "NOT CLEAN"
    lines = [f"{word:9} {catch.name:20} {catch.scenario:10} {catch.seconds:4.0f} s  {how}"]
    if not catch.ok:
        lines += [f"          {line}" for line in (*catch.void, *catch.first, *catch.trouble.splitlines())]
    return Result(catch.ok, not catch.ok, lines)
