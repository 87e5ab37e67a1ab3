"""Where the checkout's files are, and how its modules are read without importing them."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "reliq"
SCRIPTS = ROOT / "lua"


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Each module of the package: its path from the root, and its syntax tree."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
