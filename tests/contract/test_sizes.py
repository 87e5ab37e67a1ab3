"""Files and functions stay small enough to be read in one go."""

import ast

from tests.contract.places import PACKAGE, ROOT, SCRIPTS, modules

MODULE, FUNCTION, SCRIPT = 400, 60, 80
"""Lines, comments and docstrings included."""

EXCEPTIONS: dict[str, int] = {
    # "reliq/room.py" or "reliq/room.py:function": the lines it may have, with the reason. The list only shrinks.
    "lua/turn.lua": 249,  # settling and claiming, with shares and many at once, are one step, and one promise
    "lua/reap.lua": 112,  # returning, quarantining and burying what a dead process held is one step
}


def lines_by_name() -> dict[str, tuple[int, int]]:
    """Lines and limit of everything that has a limit."""
    found = {}
    for path in [*PACKAGE.rglob("*.py"), *SCRIPTS.glob("*.lua")]:
        limit = MODULE if path.suffix == ".py" else SCRIPT
        found[str(path.relative_to(ROOT))] = (len(path.read_text(encoding="utf-8").splitlines()), limit)
    for name, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found[f"{name}:{node.name}"] = ((node.end_lineno or node.lineno) - node.lineno + 1, FUNCTION)
    return found


def test_nothing_is_too_long() -> None:
    sizes = lines_by_name()
    assert sizes
    long = {name: lines for name, (lines, limit) in sizes.items() if lines > EXCEPTIONS.get(name, limit)}
    assert not long


def test_every_exception_is_still_needed() -> None:
    sizes = lines_by_name()
    unneeded = [name for name in EXCEPTIONS if name not in sizes or sizes[name][0] <= sizes[name][1]]
    assert not unneeded
