"""The command lines: what is asked for wrongly ends in one line; `reliq bench` measures and cleans up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner, Result
from rich.console import Console

from bench.cli import cli, save
from bench.environments import Installed, LeftOut, debian, python
from bench.results import Results
from bench.versions import PYTHON
from chaos.servers import Server
from reliq.cli.bench.command import NAMESPACE, bench
from tests.bench.test_report import SETTING, sample


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, words)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("compare", "--peers", "resque"), "'resque' is none of reliq, ceiling, lpush, sidekiq"),
        (("compare", "--rows", "drain-3"), "'drain-3' is none of drain-1, drain-2"),
        (("compare", "--durability", "maybe"), "'maybe' is not one of"),
    ],
)
def test_mistakes_end_in_one_line(words: tuple[str, ...], line: str) -> None:
    answer = run(*words)
    assert answer.exit_code == 2
    assert line in answer.output.splitlines()[-1]


def test_what_is_not_installed_is_left_out_and_said_so(tmp_path: Path) -> None:
    with pytest.raises(LeftOut, match=r"^huey is left out: not installed in /"):
        python("huey", tmp_path, install=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("tools", "root", "line"),
    [
        ((), True, "this is not Debian"),
        (("apt-get",), False, "run `apt-get install ruby-sidekiq` as root"),
    ],
)
def test_debian_packages_are_left_out_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tools: tuple[str, ...], root: bool, line: str
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}" if name in tools else None)
    monkeypatch.setattr("os.geteuid", lambda: 0 if root else 1000)
    with pytest.raises(LeftOut, match=f"^sidekiq is left out: .*{line}"):
        debian("sidekiq")


def test_an_environment_that_was_made_is_found_again(tmp_path: Path) -> None:
    stamp = tmp_path / "huey" / "installed"
    stamp.parent.mkdir()
    stamp.write_text("\n".join([*PYTHON["huey"], "huey==3.5.4", "redis==8.1.0"]) + "\n")
    found = python("huey", tmp_path, install=False)
    assert found == Installed(tmp_path / "huey" / "bin" / "python", "3.5.4", ("huey==3.5.4", "redis==8.1.0"))
    stamp.write_text("huey==1.0\n")
    with pytest.raises(LeftOut):
        python("huey", tmp_path, install=False)


def test_every_peer_is_pinned() -> None:
    assert all("==" in requirement for requirements in PYTHON.values() for requirement in requirements)


def test_rows_that_are_run_alone_go_into_the_same_files(tmp_path: Path) -> None:
    console = Console(file=(tmp_path / "said").open("w"), width=200)
    save(Results(setting=SETTING, samples=[sample("drain-1", "reliq", 0, rate=1)]), tmp_path, console)
    save(Results(setting=SETTING, samples=[sample("bulk", "reliq", 0, rate=2)]), tmp_path, console)
    console.file.close()
    path = tmp_path / "compare-free-everysec.json"
    assert {one.row for one in Results.load(path).samples} == {"drain-1", "bulk"}
    assert path.with_suffix(".md").exists()


def test_bench_refuses_to_run_where_its_namespace_is_in_use(server: Server, redis_client: redis.Redis) -> None:
    redis_client.sadd(f"{NAMESPACE}:queues", "bench")
    redis_client.lpush(f"{NAMESPACE}:queue:bench", "{}")
    answer = CliRunner().invoke(bench, ["--url", server.url, "--rounds", "1", "--jobs", "10"])
    assert answer.exit_code == 1
    assert answer.output == f"Error: namespace '{NAMESPACE}' is not empty: 1 jobs. Measure on another server\n"
    assert redis_client.llen(f"{NAMESPACE}:queue:bench") == 1
    redis_client.flushall()


@pytest.mark.slow
def test_bench_measures_and_leaves_nothing(server: Server, redis_client: redis.Redis) -> None:
    redis_client.lpush("queue:default", "somebody else's")
    answer = CliRunner().invoke(bench, ["--url", server.url, "--rounds", "1", "--jobs", "3000", "--json"])
    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.output)
    assert [figure["name"] for figure in told["figures"]] == [
        *("enqueue", "lpush", "bulk", "drain", "server_cpu", "io", "latency_p50", "latency_p99")
    ]
    assert all(figure["value"] > 0 for figure in told["figures"])
    assert told["durability"] == "none"
    assert redis_client.keys() == [b"queue:default"]
    redis_client.delete("queue:default")


@pytest.mark.slow
def test_bench_has_a_server_of_its_own_and_prints_a_table() -> None:
    answer = CliRunner().invoke(bench, ["--rounds", "1", "--jobs", "3000"])
    assert answer.exit_code == 0, answer.output
    for word in ("Valkey", "durability everysec", "no-op drain", "idle latency, p99"):
        assert word in answer.output
