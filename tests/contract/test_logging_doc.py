"""docs/logging.md names every line that reliq writes, with its level."""

import ast
import re
from collections.abc import Iterator

from tests.contract.places import ROOT, modules
from tests.contract.test_docs import table

LEVELS = {"debug", "info", "warning", "error", "exception", "log"}
PAGE = (ROOT / "docs" / "logging.md").read_text(encoding="utf-8")


def written() -> Iterator[tuple[str, str]]:
    """Level and text of each line. `log` stands for a level that is decided on the way."""
    for name, tree in modules():
        if name == "reliq/store/embedded.py":
            continue  # the keeper of the embedded server has a log file of its own
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef):
                yield from lines_of(function)


def lines_of(function: ast.FunctionDef) -> Iterator[tuple[str, str]]:
    """Those of one function, which may give a long text a name first."""
    named = {
        target.id: node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(function):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="_log"), attr=level), args=args) if level in LEVELS:
                text = args[1] if level == "log" else args[0]
                text = named[text.id] if isinstance(text, ast.Name) else text
                assert isinstance(text, ast.Constant), ast.dump(text)
                yield level, str(text.value)


def test_every_line_is_explained() -> None:
    rows = {(row[0].split(" ")[0], row[1].strip("`")) for row in table(PAGE, "level")}
    found = {({"exception": "ERROR"}.get(level, level.upper()), shown(text)) for level, text in written()}
    assert {text for _, text in rows} == {text for _, text in found}
    assert {row for row in found if row[0] != "LOG"} <= rows


def shown(text: str) -> str:
    """A text as the page has it: an ellipsis for what is put in."""
    return re.sub(r"%[\d.]*[sdgf]", "…", text.replace("\n", " "))
