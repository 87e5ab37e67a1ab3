"""Each script says at its top what it guarantees and takes, and the method of its name takes the same."""

import inspect
import re
from pathlib import Path

import pytest

from reliq.store.scripts import Scripts
from tests.contract.places import SCRIPTS

FILES = sorted(SCRIPTS.glob("*.lua"))
PARTS = ("KEYS", "ARGV", "Returns", "Twice")


def header(path: Path) -> dict[str, str]:
    """The parts of a header in their order, the first by the script's name. Fails where the grammar is not kept."""
    parts: dict[str, str] = {}
    part = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("--"):
            break
        if line.startswith("--   "):
            assert part, f"{path.name}: {line!r} continues nothing"
            parts[part] += " " + line[5:].strip()
        else:
            start = re.fullmatch(r"-- (\w+): (\S.*)", line)
            assert start, f"{path.name}: {line!r} is neither '-- PART: text' nor a continuation"
            part = start[1]
            assert part not in parts, f"{path.name}: {part} stands twice"
            parts[part] = start[2]
    return parts


def names(text: str) -> list[str]:
    """The names of a KEYS or ARGV part."""
    return [] if text == "none" else [name.strip().removesuffix("...") for name in text.split(",")]


def test_there_are_scripts_and_each_has_a_method() -> None:
    methods = {name for name, _ in inspect.getmembers(Scripts, inspect.isfunction) if not name.startswith("_")}
    assert FILES
    assert {path.stem for path in FILES} == methods


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_header_keeps_the_grammar(path: Path) -> None:
    parts = header(path)
    assert tuple(parts) == (path.stem, *PARTS)
    for part in ("KEYS", "ARGV"):
        for name in names(parts[part]):
            assert re.fullmatch(r"[a-z][a-z0-9_]*", name), f"{part} names {name!r}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_method_takes_what_the_header_says_in_its_order(path: Path) -> None:
    parts = header(path)
    parameters = list(inspect.signature(getattr(Scripts, path.stem)).parameters.values())[1:]
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters)
    assert [parameter.name for parameter in parameters] == names(parts["KEYS"]) + names(parts["ARGV"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_keys_are_typed_as_keys_and_only_groups_are_sequences(path: Path) -> None:
    parts = header(path)
    annotations = inspect.get_annotations(getattr(Scripts, path.stem), eval_str=False)
    for part in ("KEYS", "ARGV"):
        for text in [] if parts[part] == "none" else parts[part].split(","):
            name = text.strip().removesuffix("...")
            annotation = str(annotations[name])
            assert annotation.startswith("Sequence[") == text.endswith("..."), f"{name}: {annotation}"
            assert (annotation in {"Key", "Sequence[Key]"}) == (part == "KEYS"), f"{name}: {annotation}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_body_binds_each_name_of_the_header(path: Path) -> None:
    parts = header(path)
    code = "\n".join(line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("--"))
    single = [name.strip() for part in ("KEYS", "ARGV") for name in parts[part].split(",") if parts[part] != "none"]
    for name in single:
        if not name.endswith("..."):
            assert re.search(rf"\b{name}\b", code), f"{name} is not bound"
