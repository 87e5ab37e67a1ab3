"""The compose file and the systemd unit: reliq understands their commands, and a stop has its time."""

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from chaos.servers import Server
from reliq.cli import cli
from reliq.cli.settings import gather
from tests.conftest import FreshServer
from tests.contract.places import ROOT

DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd" / "reliq-worker.service"
BESIDES = 2.0
"""Seconds that a stop takes besides --timeout and RELIQ_GRACE, at the most."""


def understood(words: list[str]) -> dict[str, Any]:
    """What reliq's command line makes of these words after `reliq`."""
    name, *rest = words
    command = cli.get_command(click.Context(cli), name)
    assert command is not None, name
    return command.make_context(name, rest).params


def stop_of(params: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> float:
    """Seconds that a worker with these options may take to stop."""
    monkeypatch.chdir(folder)  # away from a reliq.toml
    given = {name: value for name, value in params.items() if name != "pidfile"}
    worker = gather(given, {"RELIQ_URL": "redis://nowhere:6379/0"}).worker()
    return worker.timeout + worker.grace + BESIDES


def services() -> dict[str, dict[str, Any]]:
    """The services of the compose file."""
    found: dict[str, dict[str, Any]] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
    return found


def seconds(text: str) -> float:
    """A duration as compose and systemd write it, in seconds only."""
    match = re.fullmatch(r"(\d+)s?", text)
    assert match, text
    return float(match[1])


def test_compose_runs_what_reliq_understands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = services()
    assert set(found) == {"worker", "reaper", "exporter", "redis"}
    for name in ("worker", "reaper", "exporter"):
        params = understood(found[name]["command"])
        assert found[name]["read_only"]
        if name == "worker":
            assert seconds(found[name]["stop_grace_period"]) > stop_of(params, tmp_path, monkeypatch)


def test_compose_asks_the_worker_s_own_probe(server: Server) -> None:
    (command, *words) = services()["worker"]["healthcheck"]["test"]
    assert (command, words[:2]) == ("CMD", ["python", "-c"])
    assert understood(services()["worker"]["command"])["http"] == ":9797"
    assert "http://127.0.0.1:9797/live" in words[2]
    compile(words[2], "healthcheck", "exec")


def test_compose_s_redis_keeps_everything(fresh_server: FreshServer) -> None:
    _, *words = services()["redis"]["command"]
    settings = dict(zip([word.removeprefix("--") for word in words[::2]], words[1::2], strict=True))
    with fresh_server(settings=settings).client() as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}


@pytest.fixture(scope="module")
def unit() -> configparser.SectionProxy:
    """The [Service] section."""
    parser = configparser.ConfigParser(strict=True, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment]
    parser.read_string(UNIT.read_text(encoding="utf-8").replace("\\\n", ""))
    return parser["Service"]


def test_the_unit_runs_what_reliq_understands(
    unit: configparser.SectionProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, stop = shlex.split(unit["ExecStart"]), shlex.split(unit["ExecStop"].removeprefix("-"))
    assert start[0] == stop[0]
    worker, quiet = understood(start[1:]), understood(stop[1:])
    assert worker["pidfile"] == quiet["pidfile"], "quiet finds the worker that it is meant for"
    assert str(worker["pidfile"]).startswith(f"%t/{unit['RuntimeDirectory']}/")
    needed = stop_of(worker, tmp_path, monkeypatch)
    assert seconds(unit["TimeoutStopSec"]) > needed + quiet["wait"]


def test_systemd_leaves_the_processes_to_the_supervisor(unit: configparser.SectionProxy) -> None:
    assert unit["KillMode"] == "mixed", "SIGTERM goes to the supervisor alone"
    assert unit["OOMPolicy"] == "continue", "one job that eats the memory does not stop the others"
    assert unit["Restart"] == "always"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd")
def test_systemd_reads_the_unit(tmp_path: Path) -> None:
    program = tmp_path / "reliq"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    copy = tmp_path / UNIT.name
    copy.write_text(
        UNIT.read_text(encoding="utf-8").replace("/srv/shop/venv/bin/reliq", str(program)), encoding="utf-8"
    )
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
