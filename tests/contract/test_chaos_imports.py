"""The chaos harness sees reliq as its users do: public names and the command line, nothing inside."""

import ast
from pathlib import Path

import pytest

import reliq

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "chaos").rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=[str(path.relative_to(ROOT)) for path in MODULES])
def test_chaos_imports_public_names_only(path: Path) -> None:
    tree = ast.parse(path.read_text())
    wrong = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            wrong += [
                alias.name
                for alias in node.names
                if alias.name == "tests" or alias.name.startswith(("reliq.", "tests."))
            ]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "reliq":
            wrong += [node.attr] if node.attr not in reliq.__all__ else []
        elif isinstance(node, ast.ImportFrom):
            room = (node.module or "").split(".")[0]
            if room == "tests" or (room == "reliq" and node.module != "reliq"):
                wrong.append(str(node.module))
            elif room == "reliq":
                wrong += [alias.name for alias in node.names if alias.name not in reliq.__all__]
    assert not wrong, "import from `reliq` what its __all__ names, nothing else"
