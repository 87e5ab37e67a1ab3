"""The pages in docs/ agree with the code: states, settings, steps, links."""

import re
from pathlib import Path
from typing import get_args

import attrs
import pytest

from reliq import outcome
from reliq.cli.settings import gather
from reliq.config import Config, WorkerConfig
from tests.contract.places import PACKAGE, ROOT, SCRIPTS
from tests.support.leaks import key_table

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]
OUTCOMES = {kind.__name__ for kind in get_args(outcome.Outcome)}
SCRIPT_NAMES = {path.stem for path in SCRIPTS.glob("*.lua")}


def section(page: str, title: str) -> str:
    """The text of one `## title` section."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.split(r"^## ", text.split(f"\n## {title}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]


def table(text: str, heading: str) -> list[list[str]]:
    """The rows below the heading row that begins with `heading`."""
    rows = text.split(f"| {heading} |")[1].split("\n\n", maxsplit=1)[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def arrows(text: str) -> list[tuple[str, str, str]]:
    """From, to and label of each arrow of a mermaid diagram."""
    return re.findall(r"^ +(\S+) --> ([^:\s]+)(?:: (.*))?$", text, re.MULTILINE)


def test_the_states_of_a_job_are_the_keys_where_it_lies() -> None:
    text = section("states.md", "A job")
    rows = {state: key.strip("`") for state, key, _ in table(text, "state")}
    assert set(rows.values()) <= {row.name for row in key_table()}
    drawn = {name for start, end, _ in arrows(text) for name in (start, end)} - {"[*]"}
    assert drawn == set(rows)


def test_every_outcome_is_drawn_and_explained() -> None:
    text = section("states.md", "A job")
    assert {name.strip("`") for name, _ in table(text, "outcome")} == OUTCOMES
    drawn = {label.split(" / ")[0] for _, _, label in arrows(text)}
    assert drawn >= OUTCOMES


@pytest.mark.parametrize("title", ["A job", "A worker process"])
def test_every_arrow_names_a_script(title: str) -> None:
    labels = [label for _, _, label in arrows(section("states.md", title)) if label]
    assert labels
    for label in labels:
        words = {label.split(" / ")[-1], label.split(",")[0]}
        assert words & SCRIPT_NAMES or "trimmed" in label, label


def test_the_states_of_a_process_are_explained() -> None:
    text = section("states.md", "A worker process")
    drawn = {name for start, end, _ in arrows(text) for name in (start, end)} - {"[*]"}
    assert drawn == {row[0] for row in table(text, "state")}


def test_the_states_of_a_supervisor_are_those_it_writes() -> None:
    drawn = {name for start, end, _ in arrows(section("states.md", "A supervisor")) for name in (start, end)} - {"[*]"}
    source = (PACKAGE / "server" / "supervisor.py").read_text(encoding="utf-8")
    assert drawn == set(re.findall(r'_state = "(\w+)"', source))


def settings() -> dict[str, object]:
    """Name and default of every setting."""
    found: dict[str, object] = {}
    for field in (*attrs.fields(Config), *attrs.fields(WorkerConfig)):
        found[field.name] = field.default
    return found


def test_every_setting_is_described() -> None:
    text = (DOCS / "configuration.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `(RELIQ_\w+)` \|(?:.*?)\| (.*?) \|", text, re.MULTILINE)
    assert {name for name, *_ in rows} == set(settings())
    for name, variable, default in rows:
        assert variable == f"RELIQ_{name.upper()}"
        value = settings()[name]
        if isinstance(value, bool):
            assert default == str(value).lower(), name
        elif isinstance(value, int | float):
            assert default == str(value), name
        elif isinstance(value, str) and value:
            assert default == f"`{value}`", name
    least = f"the least, {Config().least_confirm}"
    assert f"`--confirm` | {least} |" in text


@pytest.mark.parametrize("name", sorted(settings()))
def test_every_setting_can_be_given_in_the_environment(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    samples = {"queues": "a,2 b", "superfetch": "no", "exit_on_unreachable": "yes", "log_jobs": "on", "prefetch": "0"}
    given = gather({}, {f"RELIQ_{name.upper()}": samples.get(name, "7")})
    assert set(given.values) == {name}


def test_the_steps_name_files_and_scripts_that_exist() -> None:
    text = (DOCS / "internals.md").read_text(encoding="utf-8")
    rows = table(text, "step")
    for _, files, scripts in rows:
        for name in re.findall(r"`(\S+)`", files):
            assert (PACKAGE / name).is_file(), name
        for name in re.findall(r"`(\S+)`", scripts):
            assert name in SCRIPT_NAMES or name == "BLMOVE", name
    told = {name for row in rows for name in re.findall(r"`(\w+)`", row[2])} - {"BLMOVE"}
    assert told == SCRIPT_NAMES


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_links_and_named_files_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / target).exists(), target
    for name in re.findall(r"`((?:reliq|lua|tests|docs)/[\w./]+)`", text):
        assert (ROOT / name).exists(), name
