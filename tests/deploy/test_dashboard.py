"""The dashboard: its panels fit together, and ask for numbers that exist in a language that Prometheus takes."""

import json
import os
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.contract.places import ROOT
from tests.deploy.test_rules import known_metrics

DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "reliq.json").read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
OWN = {"$__rate_interval": "5m", "$namespace": ".*"}
"""Grafana's own words, and what stands for them here."""


def expressions() -> list[str]:
    """All of them, as Prometheus would get them."""
    found = [target["expr"] for panel in PANELS for target in panel["targets"]]
    for word, value in OWN.items():
        found = [expression.replace(word, value) for expression in found]
    return found


def test_every_panel_says_what_it_shows() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids) > 20
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert all(target["legendFormat"] for target in panel["targets"])


def test_no_panel_covers_another() -> None:
    for one, other in combinations([panel["gridPos"] for panel in DASHBOARD["panels"]], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)
        assert one["x"] + one["w"] <= 24


def test_it_asks_for_metrics_that_exist() -> None:
    asked = {name for expression in expressions() for name in re.findall(r"\breliq_\w+", expression)}
    assert len(asked) > 25
    assert asked <= known_metrics()


def test_it_works_with_any_prometheus() -> None:
    assert {variable["name"] for variable in DASHBOARD["templating"]["list"]} == {"datasource", "namespace"}
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in PANELS)
    assert all('namespace=~".*"' in expression for expression in expressions())


@pytest.mark.skipif(shutil.which("promtool") is None and "CI" not in os.environ, reason="promtool is not installed")
def test_prometheus_takes_every_expression(tmp_path: Path) -> None:
    rules = [{"record": f"reliq:{number}", "expr": expression} for number, expression in enumerate(expressions())]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")
    done = subprocess.run(
        ["promtool", "check", "rules", str(path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout
