"""docs/doctor.md says what the doctor says: every check, and every finding in its own words."""

import importlib
import pkgutil

import pytest
from click.testing import CliRunner

from reliq import doctor
from reliq.cli import cli
from reliq.doctor import CHECKS, ROLES
from reliq.doctor.finding import Kind, Level
from tests.contract.places import ROOT
from tests.contract.test_docs import table

PAGE = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")


def kinds() -> list[Kind]:
    """Every finding that can be made, but that all is well."""
    modules = [importlib.import_module(f"reliq.doctor.{found.name}") for found in pkgutil.iter_modules(doctor.__path__)]
    named = {kind.name: kind for module in modules for kind in vars(module).values() if isinstance(kind, Kind)}
    return list(named.values())


def test_every_check_is_described_by_its_first_line() -> None:
    said = [(name, (check.__doc__ or "").splitlines()[0]) for name, check in CHECKS.items()]
    assert [(name.strip("`"), text) for name, text in table(PAGE, "check")] == said


def test_every_finding_is_described_in_its_own_words() -> None:
    rows = {row[0].strip("`"): row[1:] for row in table(PAGE, "finding")}
    assert rows == {kind.name: [kind.level.word, kind.what, kind.why, kind.do] for kind in kinds()}


def test_every_level_and_every_role_is_explained() -> None:
    assert [row[0] for row in table(PAGE, "level")] == [level.word for level in Level]
    assert [row[0].strip("`") for row in table(PAGE, "role")] == list(ROLES)


def test_every_finding_is_made_in_some_test() -> None:
    tests = " ".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "doctor").glob("test_*.py"))
    assert [kind.name for kind in kinds() if f'"{kind.name}"' not in tests] == []


@pytest.mark.parametrize("form", ["plain", "selectors"])
@pytest.mark.parametrize("role", ROLES)
def test_security_has_the_rules_that_are_printed(role: str, form: str) -> None:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    done = CliRunner().invoke(cli, ["doctor", "--acl", form, "--role", role])
    assert done.exit_code == 0, done.output
    assert f"\n{done.output}" in text
