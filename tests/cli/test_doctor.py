"""`reliq doctor`: exit codes, what it prints, and what it reads from manifests."""

import io
import json
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml

from chaos.servers import Server, free_port
from reliq.cli.manifest import shutdowns
from reliq.doctor import CHECKS, Shutdown
from reliq.errors import ConfigError
from tests.cli.conftest import Reliq
from tests.conftest import FreshServer

FAILED, USAGE, UNREACHABLE = 1, 2, 69
DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def test_a_problem_is_told_with_its_reason_and_its_remedy(
    reliq: Reliq, fresh_server: FreshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    server = fresh_server(settings={"maxmemory-policy": "allkeys-lru", "maxmemory": "100mb"})
    answer = reliq("doctor", "--url", server.url)
    assert answer.code == FAILED
    assert answer.err == ""
    lines = answer.out.splitlines()
    at = next(number for number, line in enumerate(lines) if "maxmemory-policy is allkeys-lru" in line)
    assert lines[at].startswith("problem")
    assert "Jobs are lost" in lines[at + 1]
    assert "noeviction" in lines[at + 2]
    assert lines[-1].startswith("2 problems, ")
    levels = [line.split()[0] for line in lines if line[:1].isalpha()][1:-1]
    assert levels == sorted(levels, key=["problem", "warning", "note", "ok"].index), "the worst comes first"


@pytest.mark.parametrize(
    ("settings", "strict", "code"),
    [
        ({"appendonly": "yes"}, False, 0),
        ({"appendonly": "yes"}, True, 0),
        ({"appendonly": "yes", "timeout": "1"}, False, 0),
        ({"appendonly": "yes", "timeout": "1"}, True, FAILED),
        ({}, False, FAILED),
    ],
)
def test_exit_codes(reliq: Reliq, fresh_server: FreshServer, settings: dict[str, str], strict: bool, code: int) -> None:
    server = fresh_server(settings=settings)
    assert reliq("doctor", "--url", server.url, *(["--strict"] if strict else [])).code == code


def test_json(reliq: Reliq, at_server: Server) -> None:
    answer = reliq("doctor", "--json")
    said = json.loads(answer.out)
    assert said.keys() == {"reliq", "redis", "level", "findings"}
    assert said["level"] == "problem"  # the servers of the tests keep nothing
    assert [found["check"] for found in said["findings"]] == [*CHECKS]
    for found in said["findings"]:
        assert found.keys() == {"check", "name", "level", "what", "why", "do"}
    (kept,) = [found for found in said["findings"] if found["check"] == "persistence"]
    assert (kept["name"], kept["level"]) == ("nothing-kept", "problem")


def test_some_checks_alone(reliq: Reliq, at_server: Server) -> None:
    answer = reliq("doctor", "--json", "--check", "version", "--check", "queues")
    assert answer.code == 0
    assert [found["check"] for found in json.loads(answer.out)["findings"]] == ["version", "queues"]


def test_the_password_is_not_told(reliq: Reliq, fresh_server: FreshServer) -> None:
    server = fresh_server(tcp=True, settings={"requirepass": "open-sesame"})
    url = f"redis://:open-sesame@127.0.0.1:{server.port}"
    for words in (["--json"], []):
        answer = reliq("doctor", "--url", url, *words)
        assert "open-sesame" not in answer.out
        assert "***@127.0.0.1" in answer.out
    answer = reliq("doctor", "--url", url.replace("sesame", "barley"))
    assert answer.code == FAILED
    assert "refused the user or password" in answer.line


def test_nobody_answers(reliq: Reliq) -> None:
    answer = reliq("doctor", "--url", f"redis://127.0.0.1:{free_port()}")
    assert answer.code == UNREACHABLE
    assert "no answer from Redis" in answer.line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--grace-period -1", "--grace-period and --prestop-wait: give seconds, 0 or more"),
        ("--grace-period 30 --prestop-wait nan", "give seconds, 0 or more"),
        ("--grace-period 30 --timeout -1", "timeout = -1.0: give seconds, 0 or more"),
        ("--manifest nowhere.yaml", "--manifest nowhere.yaml: No such file or directory"),
        ("--manifest jobs.py", "--manifest jobs.py: "),
        ("--ttl 1", "must be at least 4 beats"),
    ],
)
def test_what_cannot_be_used(reliq: Reliq, at_server: Server, words: str, said: str) -> None:
    answer = reliq("doctor", *words.split())
    assert answer.code == USAGE
    assert said in answer.line


def test_the_sum_on_the_command_line(reliq: Reliq, at_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(*words: str) -> str:
        (found,) = json.loads(reliq("doctor", "--json", "--check", "shutdown", *words).out)["findings"]
        return str(found["name"])

    assert said() == "shutdown-not-told"
    assert said("--grace-period", "60", "--prestop-wait", "20") == "ok"
    assert said("--grace-period", "50", "--prestop-wait", "20") == "grace-period-too-short"
    assert said("--grace-period", "50", "--prestop-wait", "20", "--timeout", "10") == "ok"
    monkeypatch.setenv("RELIQ_TIMEOUT", "40")
    monkeypatch.setenv("RELIQ_GRACE", "6")
    assert said("--grace-period", "48") == "grace-period-too-short"
    assert said("--grace-period", "53") == "ok"


def deployment(name: str = "shop", grace_period: int | None = 60, **container: Any) -> dict[str, Any]:
    """A Deployment of workers."""
    spec: dict[str, Any] = {
        "containers": [{"name": "sidecar", "image": "x"}, {"name": "worker", "image": "y", **container}]
    }
    if grace_period is not None:
        spec["terminationGracePeriodSeconds"] = grace_period
    return {"kind": "Deployment", "metadata": {"name": name}, "spec": {"template": {"spec": spec}}}


def hook(*command: str) -> dict[str, Any]:
    """A preStop hook."""
    return {"preStop": {"exec": {"command": list(command)}}}


def read(home: Path, *objects: dict[str, Any]) -> list[Shutdown]:
    """What is read from a file of these objects."""
    (home / "m.yaml").write_text(yaml.safe_dump_all(objects), encoding="utf-8")
    return shutdowns("m.yaml")


@pytest.mark.parametrize(
    ("container", "said"),
    [
        ({"command": ["reliq"], "args": ["worker", "-A", "a:b", "--timeout=40"]}, {"timeout": 40}),
        ({"args": ["worker", "--superfetch"]}, {}),  # the image's entry point is reliq
        ({"command": ["python", "-m", "reliq", "worker", "-t", "7"]}, {"timeout": 7}),
        (
            {"command": ["/bin/reliq", "worker"], "lifecycle": hook("reliq", "quiet", "--wait", "20")},
            {"prestop_wait": 20},
        ),
        ({"args": ["worker"], "lifecycle": hook("reliq", "quiet")}, {"prestop_wait": 5}),
        ({"args": ["worker"], "lifecycle": hook("sh", "-c", "reliq quiet --wait 9")}, {"prestop_wait": 9}),
        ({"args": ["worker"], "lifecycle": hook("reliq", "stop", "--wait", "11")}, {"timeout": 11}),
        ({"args": ["worker"], "lifecycle": hook("echo", "bye")}, {}),
        ({"args": ["worker"], "lifecycle": {"preStop": {"sleep": {"seconds": 4}}}}, {"prestop_wait": 4}),
        (
            {
                "args": ["worker"],
                "env": [
                    {"name": "RELIQ_TIMEOUT", "value": "31"},
                    {"name": "RELIQ_GRACE", "value": "8"},
                    {"name": "RELIQ_URL", "valueFrom": {"secretKeyRef": {}}},
                ],
            },
            {"timeout": 31, "grace": 8},
        ),
        ({"command": ["sh", "-c", "cd /app; reliq worker -t 6"]}, {"timeout": 6, "by_shell": True}),
        ({"command": ["/bin/bash", "-ec"], "args": ["reliq worker"]}, {"by_shell": True}),
        ({"command": ["sh", "-c", "exec reliq worker -t 6"]}, {"timeout": 6}),
    ],
)
def test_what_a_manifest_says(home: Path, container: dict[str, Any], said: dict[str, Any]) -> None:
    (found,) = read(home, deployment(**container))
    usual = Shutdown(name="m.yaml Deployment/shop", grace_period=60, timeout=25, grace=3)
    assert found == attrs.evolve(usual, **said)


def test_every_worker_of_every_object_is_read(home: Path) -> None:
    worker = {"args": ["worker"]}
    pod = {"kind": "Pod", "metadata": {"name": "one"}, "spec": {"containers": [{"name": "w", **worker}]}}
    listed = {
        "kind": "List",
        "items": [deployment("three", 7, **worker), {"kind": "Service", "metadata": {"name": "x"}}],
    }
    found = read(home, deployment("two", None, **worker), pod, listed, {"kind": "ConfigMap", "metadata": {"name": "c"}})
    assert [(one.name.split()[-1], one.grace_period) for one in found] == [
        ("Deployment/two", 30),  # what Kubernetes gives
        ("Pod/one", 30),
        ("Deployment/three", 7),
    ]


def test_json_and_standard_input(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(deployment(args=["worker"]))))
    assert shutdowns("-")[0].grace_period == 60


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: ConfigMap\n", "no container in it runs `reliq worker`"),
        ("a: [", "m.yaml: "),
        (json.dumps(deployment(args=["worker", "--nope"])), "Deployment/shop: No such option"),
        (json.dumps(deployment(args=["worker", "-q", "a,0"])), "weight from 1 to 1000"),
        (json.dumps(deployment(args=["worker"], lifecycle=hook("reliq", "quiet", "--nope"))), "No such option"),
    ],
)
def test_manifests_that_cannot_be_used(home: Path, text: str, said: str) -> None:
    (home / "m.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        shutdowns("m.yaml")


def test_the_manifests_of_this_project_give_a_stop_its_time(reliq: Reliq, at_server: Server) -> None:
    looked_at = 0
    for path in DEPLOY.rglob("*.yaml"):
        if "terminationGracePeriodSeconds" not in path.read_text(encoding="utf-8"):
            continue
        answer = reliq("doctor", "--check", "shutdown", "--manifest", str(path))
        if "no container in it runs" not in answer.err:
            looked_at += 1
            assert answer.code == 0, answer.out
    assert looked_at
