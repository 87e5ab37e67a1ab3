"""docs/chaos.md names what the harness has: every scenario, fault, check, path and mutant, and nothing else."""

from __future__ import annotations

import re

from chaos.faults import ALL
from chaos.mutants.catalogue import MUTANTS
from chaos.points import WAYS
from chaos.scenarios import SCENARIOS
from tests.chaos.oracle_ledgers import Book
from tests.contract.test_docs import DOCS, section, table


def names(title: str, heading: str) -> set[str]:
    """The first cells of a table."""
    return {row[0].strip("`") for row in table(section("chaos.md", title), heading)}


def test_every_scenario_is_described() -> None:
    assert {row[0].strip("`"): row[1] for row in table(section("chaos.md", "Scenarios"), "scenario | what")} == {
        scenario.name: scenario.what for scenario in SCENARIOS.values()
    }


def test_every_fault_is_described() -> None:
    rows = table(section("chaos.md", "Faults"), "fault | what | explains")
    assert {row[0].strip("`"): f"{row[1]}." for row in rows} == {fault.name: fault.what for fault in ALL.values()}


def test_every_check_is_described() -> None:
    assert names("What is judged", "check | promise") == {check.name for check in Book().judge().checks}


def test_every_mutant_is_described() -> None:
    rows = table(section("chaos.md", "Mutants"), "mutant | what is broken | found by")
    assert {row[0].strip("`"): (row[1], set(re.findall(r"`(\w+)`", row[2]))) for row in rows} == {
        mutant.name: (mutant.what, set(mutant.found_by)) for mutant in MUTANTS
    }


def test_every_path_is_named() -> None:
    text = section("chaos.md", "Crash points")
    assert all(f"`{way.name}`" in text for way in WAYS)


def test_every_case_is_played_or_said_not_to_be() -> None:
    cases = re.findall(r"^\| (\d+) \|", (DOCS / "counterexamples.md").read_text(encoding="utf-8"), re.MULTILINE)
    played = {
        case for row in table(section("chaos.md", "Counterexamples"), "case | played by") for case in row[0].split(", ")
    }
    assert played == set(cases)
    commands = re.findall(r"`run ([\w-]+)`", section("chaos.md", "Counterexamples"))
    assert commands
    assert set(commands) <= set(SCENARIOS)


def test_scenarios_name_faults_that_exist() -> None:
    assert {name for scenario in SCENARIOS.values() for name in scenario.faults} <= set(ALL)
