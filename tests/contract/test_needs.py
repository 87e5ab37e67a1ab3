"""What the doctor asks for in a user's rights is what the scripts call and the code sends."""

import ast
import re
from collections.abc import Iterator

import pytest

from reliq.doctor import ROLES, needs
from reliq.store.keys import Keyspace
from tests.contract.places import SCRIPTS, modules

SENT_BY = {
    "producer": {"enqueue", "schedule"},
    "reaper": {"overdue", "suspect", "condemn", "reap", "forget"},
    "worker": {path.stem for path in SCRIPTS.glob("*.lua")} - {"enqueue", "schedule"},
    "exporter": set[str](),
}
"""The scripts of each role."""

FOR_OPERATORS = {"MGET"}
"""Sent by `reliq status` and the doctor, for whom there is no role."""

NOT_COMMANDS = {"ERR", "TSTP"}
TWO_WORDS = {"CLIENT", "SCRIPT"}


def called(script: str) -> set[str]:
    """The commands that a script calls."""
    return set(re.findall(r"call\(\s*'([A-Z]+)'", (SCRIPTS / f"{script}.lua").read_text(encoding="utf-8")))


def sent(tree: ast.Module) -> Iterator[str]:
    """The commands that a module sends, by itself or as one of many."""
    for node in ast.walk(tree):
        words: list[ast.expr] = []
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("call", "send"):
            words = node.args
        elif isinstance(node, ast.Tuple):
            words = node.elts
        texts = [word.value for word in words[:2] if isinstance(word, ast.Constant) and isinstance(word.value, str)]
        if texts and re.fullmatch("[A-Z]{3,}", texts[0]) and texts[0] not in NOT_COMMANDS:
            yield " ".join(texts) if texts[0] in TWO_WORDS else texts[0]


def asked(role: str) -> set[str]:
    """The commands that a role is asked about."""
    required, wanted = needs.questions(role, Keyspace())
    return {question.name for question in [*required, *wanted]} | set(needs.AROUND.get(role, ()))


@pytest.mark.parametrize("role", ROLES)
def test_all_that_a_roles_scripts_call_is_asked_for(role: str) -> None:
    assert set().union(*map(called, SENT_BY[role])) <= asked(role)


def test_what_is_asked_for_is_what_is_sent() -> None:
    # The basic fetcher is for those who do without promises, and has no role.
    code = {
        command
        for name, tree in modules()
        if name.startswith(("reliq/store/", "reliq/server/", "reliq/survey.py")) and name != "reliq/server/basic.py"
        for command in sent(tree)
    }
    scripts = {command for path in SCRIPTS.glob("*.lua") for command in called(path.stem)}
    assert (code | scripts) - FOR_OPERATORS == set().union(*map(asked, ROLES))
