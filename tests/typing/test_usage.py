"""A type checker sees the signatures of jobs, as a user's own run of mypy does."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

USAGE = Path(__file__).with_name("usage.py")
IGNORE = re.compile(r"  # type: ignore\[([^]]+)\]")


def expected() -> set[tuple[int, str]]:
    """Line and code of each error that usage.py announces."""
    lines = enumerate(USAGE.read_text(encoding="utf-8").splitlines(), 1)
    return {(number, code) for number, line in lines for found in IGNORE.findall(line) for code in found.split(", ")}


@pytest.mark.slow
def test_mypy_finds_exactly_the_announced_errors(tmp_path: Path) -> None:
    program = tmp_path / "usage.py"
    program.write_text(IGNORE.sub("", USAGE.read_text(encoding="utf-8")), encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context", "usage.py"],
        cwd=tmp_path,  # no pyproject.toml in reach: a user's own settings, on the installed package
        capture_output=True,
        text=True,
        check=False,
    )
    errors = re.findall(r"^usage\.py:(\d+): error: .*\[([a-z-]+)\]$", run.stdout, re.MULTILINE)
    assert {(int(line), code) for line, code in errors} == expected(), run.stdout + run.stderr
    assert run.returncode == 1
