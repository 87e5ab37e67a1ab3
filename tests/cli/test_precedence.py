"""Where a setting comes from: the command line, then RELIQ_*, then a file, then the code, then the default."""

import json
from pathlib import Path

import pytest

from chaos.eventually import eventually
from chaos.servers import Server
from tests.cli.conftest import JOBS, Reliq, Start


@pytest.fixture
def four(reliq: Reliq, at_server: Server) -> Server:
    """A server with a queue in each of four namespaces, called like its namespace."""
    for name in ("", "test-file", "test-env", "test-line"):
        assert reliq("enqueue", "quick", "-q", name or "none", "--namespace", name).code == 0
    return at_server


def seen(reliq: Reliq, *words: str) -> str:
    """The queue that `reliq queues` finds."""
    answer = reliq("queues", "--json", *words)
    assert answer.code == 0, answer.err
    (queue,) = json.loads(answer.out)
    assert isinstance(queue["name"], str)
    return queue["name"]


@pytest.mark.parametrize("name", ["reliq.toml", "pyproject.toml"])
def test_line_before_environment_before_file_before_default(
    reliq: Reliq, four: Server, home: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    assert seen(reliq) == "none"
    table = "[tool.reliq]\n" if name == "pyproject.toml" else ""
    (home / name).write_text(f"{table}namespace = 'test-file'\n", encoding="utf-8")
    assert seen(reliq) == "test-file"
    monkeypatch.setenv("RELIQ_NAMESPACE", "test-env")
    assert seen(reliq) == "test-env"
    assert seen(reliq, "--namespace", "test-line") == "test-line"


def test_the_file_of_reliq_hides_that_of_the_project(reliq: Reliq, four: Server, home: Path) -> None:
    (home / "pyproject.toml").write_text("[tool.reliq]\nnamespace = 'test-env'\n", encoding="utf-8")
    (home / "reliq.toml").write_text("namespace = 'test-file'\n", encoding="utf-8")
    assert seen(reliq) == "test-file"


def test_the_file_may_hold_the_url(reliq: Reliq, server: Server, home: Path) -> None:
    (home / "reliq.toml").write_text(f"url = '{server.url}'\n", encoding="utf-8")
    assert reliq("status").code == 0
    assert not (home / ".reliq").exists()


def test_a_worker_takes_its_settings_from_everywhere(start: Start, at_server: Server, home: Path) -> None:
    (home / "reliq.toml").write_text(
        "app = 'jobs:app'\nprocesses = 2\nconcurrency = 3\nqueues = ['mail,2', 'default']\n", encoding="utf-8"
    )
    program = start("worker", "-c", "5", environment={"RELIQ_PROCESSES": "1", "RELIQ_CONCURRENCY": "4"})
    program.says("1 processes x 5 threads, 1 jobs registered, queues mail, default (weighted), super_fetch")
    assert program.stop() == 0


@pytest.mark.parametrize("option", [False, True], ids=["code", "option"])
def test_a_url_in_the_code_gives_way_to_the_option_only(start: Start, server: Server, home: Path, option: bool) -> None:
    wrong, right = "redis://127.0.0.1:1", server.url
    (home / "reliq.toml").write_text(f"url = '{wrong}'\n", encoding="utf-8")
    (home / "coded.py").write_text(JOBS.replace("Reliq()", f"Reliq('{wrong if option else right}')"), encoding="utf-8")
    words = ["--url", right] if option else []
    program = start("worker", "-A", "coded", *words, environment={"RELIQ_URL": wrong})
    program.says(f"super_fetch at {right}")
    with server.client() as client:
        eventually(lambda: client.hlen("fleet"), 10, "the worker registers there")
    assert program.stop() == 0


def test_settings_in_the_code_give_way_to_the_environment(start: Start, server: Server, home: Path) -> None:
    (home / "coded.py").write_text(
        JOBS.replace("Reliq()", f"Reliq('{server.url}', namespace='test-code')"), encoding="utf-8"
    )
    for environment, key in (({}, "test-code:fleet"), ({"RELIQ_NAMESPACE": "test-env"}, "test-env:fleet")):
        program = start("worker", "-A", "coded", environment=environment)
        with server.client() as client:
            eventually(lambda key=key, client=client: client.hlen(key), 15, "the worker registers there")  # type: ignore[misc]
        assert program.stop() == 0


def test_without_a_url_there_is_an_embedded_server(reliq: Reliq, start: Start, home: Path) -> None:
    program = start("worker", "-A", "jobs")
    program.says("no Redis URL given (RELIQ_URL is not set): using the embedded server in ./.reliq")
    program.says("super_fetch at embedded:")
    assert reliq("enqueue", "quick").code == 0
    eventually(lambda: json.loads(reliq("status", "--json").out)["processed"] == 1, 15, "the job runs")
    assert (home / ".reliq" / "appendonlydir").is_dir()
    assert program.stop() == 0
