"""docs/metrics.md and docs/scaling.md say what the exporter exports: every metric, its type and its labels."""

import re
from typing import Any

import attrs
import pytest
import yaml

from reliq.cli.exporter import exporter
from reliq.exporter.metrics import FLEET, QUEUE, UP, Spec
from reliq.exporter.pages import pages
from reliq.exporter.scale import Scale
from tests.contract.places import ROOT
from tests.exporter.test_survey import COMMANDS

METRICS = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
SCALING = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
ALONE = {("reliq_build_info", "gauge", "`version`"), ("reliq_survey_seconds", "gauge", "")}
"""What tells of the exporter itself."""


def rows(text: str, heading: str) -> list[list[str]]:
    """The rows below the heading row that begins with `heading`."""
    found = text.split(f"| {heading} |")[1].split("\n\n", maxsplit=1)[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip().strip("|").split("|")] for row in found]


def described(title: str) -> set[tuple[str, str, str]]:
    """Name, type and labels of the metrics of one section."""
    text = re.split(r"^#+ ", METRICS.split(f"\n### {title}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]
    return {(name.strip("`"), kind, labels) for name, kind, labels, *_ in rows(text, "metric")}


def exported(specs: tuple[Spec[Any], ...], labels: str) -> set[tuple[str, str, str]]:
    return {(spec.name, "counter" if spec.name.endswith("_total") else "gauge", labels) for spec in specs}


def test_the_tables_are_the_registry() -> None:
    assert described("Of each queue") == exported(QUEUE, "`queue`")
    assert described("Of everything together") == exported((UP, *FLEET), "") | ALONE


def test_the_pages_and_options_are_all_described() -> None:
    assert {page.strip("`") for page, *_ in rows(METRICS, "page")} == set(pages(None, None))  # type: ignore[arg-type]
    named = set(re.findall(r"`(--[a-z-]+)", " ".join(row[0] for row in rows(METRICS, "option"))))
    assert named == {option for parameter in exporter.params for option in parameter.opts}


def test_the_commands_that_redis_must_allow_are_those_that_are_used() -> None:
    """A test of the survey counts what the server was asked, and asks as a user who may do nothing else."""
    text = METRICS.split("### What Redis must allow")[1].split("\n## ")[0]
    assert set(re.findall(r"`([A-Z]+)`", text)) - {"SELECT"} == COMMANDS


def test_the_keys_of_scale_are_described() -> None:
    keys = {key.strip("`"): metric.strip("`") for key, metric, _ in rows(SCALING, "key")}
    assert set(keys) == {field.name for field in attrs.fields(Scale)}
    assert {metric for metric in keys.values() if metric} <= {spec.name for spec in FLEET}
    example = re.search(r'^\{"jobs".*\}$', SCALING, re.MULTILINE)
    assert example is not None
    assert set(yaml.safe_load(example[0])) == set(keys)


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", SCALING, re.DOTALL))
def test_triggers_ask_for_what_there_is(block: str) -> None:
    [trigger] = yaml.safe_load(block)["triggers"]
    data = trigger["metadata"]
    if trigger["type"] == "metrics-api":
        assert "/scale" in data["url"]
        assert data["valueLocation"] in {field.name for field in attrs.fields(Scale)}
    else:
        assert set(re.findall(r"reliq_\w+", data["query"])) <= {spec.name for spec in FLEET}
        assert data["ignoreNullValues"] == "false"
