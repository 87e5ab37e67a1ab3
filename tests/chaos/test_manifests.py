"""The manifests in deploy/: they hold together, and ask of reliq only what it has."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import click
import pytest
import yaml

from chaos.pods.local import ROOT as TREE
from chaos.pods.local import Recipe
from chaos.scenarios import Scenario
from chaos.sites import base as site
from chaos.sites.local import LocalSite
from chaos.sites.manifest import sizes
from reliq.cli import cli
from reliq.cli.settings import Settings, gather
from reliq.config import Config, WorkerConfig, check_url
from tests.conftest import FreshServer

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
FILES = sorted([*(DEPLOY / "kubernetes").rglob("*.yaml"), *(DEPLOY / "chaos").rglob("*.yaml")])
SETTINGS = {field.name for kind in (Config, WorkerConfig) for field in attrs.fields(kind)}
needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


def documents(path: Path) -> list[dict[str, Any]]:
    """The objects of one file."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document is not None]


def of_kind(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    """The one object of this kind and name."""
    (found,) = [one for one in objects if one["kind"] == kind and one["metadata"]["name"] == name]
    return found


def built(folder: str) -> list[dict[str, Any]]:
    """What `kubectl apply -k` would apply."""
    done = subprocess.run(["kubectl", "kustomize", str(DEPLOY / folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def template(deployment: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A Deployment's pod, and the worker's container in it."""
    spec = deployment["spec"]["template"]["spec"]
    (container,) = [one for one in spec["containers"] if one["name"] == "worker"]
    return spec, container


def parsed(words: list[str]) -> dict[str, Any]:
    """What reliq's own command line makes of words. Fails with what it says about them."""
    name, *rest = words
    command = cli.get_command(click.Context(cli), name)
    assert command is not None, name
    return command.make_context(name, rest).params


def environment(container: dict[str, Any]) -> dict[str, str]:
    """The variables whose value stands in the manifest."""
    return {one["name"]: one["value"] for one in container.get("env", []) if "value" in one}


def settings(container: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """What a worker would be set to by this container."""
    monkeypatch.chdir(folder)  # away from a reliq.toml
    given = parsed(container["args"])
    del given["pidfile"]
    return gather(given, {"RELIQ_URL": "redis://reliq-redis:6379/0", **environment(container)})


WORKERS = [DEPLOY / "kubernetes" / "base" / "worker.yaml", DEPLOY / "chaos" / "worker.yaml"]
each_worker = pytest.mark.parametrize("path", WORKERS, ids=[str(path.relative_to(DEPLOY)) for path in WORKERS])


def worker(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The pod and the container of a file."""
    return template(of_kind(documents(path), "Deployment", "reliq-worker"))


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(DEPLOY)) for path in FILES])
def test_every_file_holds_whole_objects(path: Path) -> None:
    found = documents(path)
    assert found
    for one in found:
        assert {"apiVersion", "kind"} <= one.keys()
        assert one["kind"] in ("Kustomization", "Component") or one["metadata"]["name"]


@each_worker
def test_the_worker_starts_with_what_is_written(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, container = worker(path)
    assert container["args"][0] == "worker"
    found = settings(container, tmp_path, monkeypatch)
    options = found.worker()
    assert options.superfetch
    assert found.config().confirm_after > 0
    assert {name.removeprefix("RELIQ_").lower() for name in environment(container)} <= SETTINGS


@each_worker
def test_the_pod_is_given_the_time_that_a_stop_takes(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, container = worker(path)
    options = settings(container, tmp_path, monkeypatch).worker()
    reliq, *hook = container["lifecycle"]["preStop"]["exec"]["command"]
    assert (reliq, hook[0]) == ("reliq", "quiet")
    waits = parsed(hook)["wait"]
    assert spec["terminationGracePeriodSeconds"] > waits + options.timeout + options.grace + 2


def test_the_worker_needs_no_right_that_it_does_not_use() -> None:
    spec, container = worker(WORKERS[0])
    assert spec["securityContext"]["runAsNonRoot"]
    assert not spec["automountServiceAccountToken"]
    assert not spec["enableServiceLinks"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]
    assert spec["volumes"] == [{"name": "tmp", "emptyDir": {}}]
    assert "cpu" not in container["resources"]["limits"]


def test_the_url_comes_from_the_secret_and_leads_to_the_service() -> None:
    redis = documents(DEPLOY / "kubernetes" / "overlays" / "development" / "redis.yaml")
    (url,) = [one for one in worker(WORKERS[0])[1]["env"] if one["name"] == "RELIQ_URL"]
    source = url["valueFrom"]["secretKeyRef"]
    text = check_url(of_kind(redis, "Secret", source["name"])["stringData"][source["key"]])
    (port,) = of_kind(redis, "Service", "reliq-redis")["spec"]["ports"]
    assert text == f"redis://reliq-redis:{port['port']}/0"


@pytest.mark.parametrize("name", ["kubernetes/base/worker.yaml", "kubernetes/overlays/development/redis.yaml"])
def test_selectors_select(name: str) -> None:
    found = documents(DEPLOY / name)
    (workload,) = [one for one in found if one["kind"] in ("Deployment", "StatefulSet")]
    labels = workload["spec"]["template"]["metadata"]["labels"]
    selectors = [workload["spec"]["selector"]["matchLabels"]]
    selectors += [one["spec"]["selector"] for one in found if one["kind"] == "Service"]
    assert all(selector.items() <= labels.items() for selector in selectors)


def test_a_real_server_takes_the_settings_of_redis_and_keeps_everything(fresh_server: FreshServer) -> None:
    redis = of_kind(
        documents(DEPLOY / "kubernetes" / "overlays" / "development" / "redis.yaml"), "StatefulSet", "reliq-redis"
    )
    (container,) = redis["spec"]["template"]["spec"]["containers"]
    words = iter(container["args"])
    given = {name.removeprefix("--"): value for name, value in zip(words, words, strict=True)}
    assert given.pop("dir") == container["volumeMounts"][0]["mountPath"]
    with fresh_server(settings=given).client() as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        memory = int(client.config_get("maxmemory")["maxmemory"])
    limit = container["resources"]["limits"]["memory"]
    assert memory * 2 <= int(limit.removesuffix("Mi")) * 1024 * 1024


# -- the overlay of a chaos run


@needs_kubectl
def test_what_is_applied_for_a_chaos_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = built("chaos")
    assert {one["metadata"].get("namespace", "reliq-chaos") for one in objects} == {"reliq-chaos"}
    deployment = of_kind(objects, "Deployment", "reliq-worker")
    spec, container = template(deployment)
    assert deployment["spec"]["replicas"] == 0
    assert spec["shareProcessNamespace"]
    assert container["image"] == "reliq-chaos:dev"
    assert container["securityContext"]["readOnlyRootFilesystem"], "what is not said again comes from the base"
    assert settings(container, tmp_path, monkeypatch).worker().app == "chaos.jobs:app"
    sources = {one["name"]: one.get("valueFrom", {}) for one in container["env"]}
    assert sources["RELIQ_URL"] == {"secretKeyRef": {"name": "reliq", "key": "url"}}
    collector = sources["CHAOS_COLLECTOR"]["configMapKeyRef"]
    value = of_kind(objects, "ConfigMap", collector["name"])["data"][collector["key"]]
    kind, host, port = value.split(":")
    assert (kind, bool(host), port.isdigit()) == ("tcp", True, True)


@needs_kubectl
def test_what_is_for_trying_out_is_complete_by_itself() -> None:
    kinds = sorted(one["kind"] for one in built("kubernetes/overlays/development"))
    assert kinds == ["Deployment", "PodDisruptionBudget", "Secret", "Service", "ServiceAccount", "StatefulSet"]


def test_scenarios_reckon_with_the_numbers_of_the_overlay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, container = worker(DEPLOY / "chaos" / "worker.yaml")
    found = settings(container, tmp_path, monkeypatch)
    usual = {field.name: field.default for field in (*attrs.fields(Recipe), *attrs.fields(Scenario))}
    options, config = found.worker(), found.config()
    for name in ("processes", "concurrency", "timeout", "grace"):
        assert getattr(options, name) == usual[name], name
    assert tuple(queue.name for queue in options.queues) == usual["queues"]
    assert (config.beat, config.ttl) == (usual["beat"], usual["ttl"])
    assert config.connect_timeout == site.CONNECT_TIMEOUT
    assert config.command_timeout == site.COMMAND_TIMEOUT
    assert config.longest_backoff == site.BACKOFF
    plain = Scenario(name="plain", what="", faults={})
    assert sizes(container) == LocalSite(plain, 1, tmp_path, TREE).sizes, "and a run reads them there"
    assert sizes(container).confirm == config.confirm_after


@needs_kubectl
def test_probes_do_not_interfere_with_a_run() -> None:
    """Once a pod is ready it stays so, and no probe restarts it: in outages only its workers are judged."""
    _, container = template(of_kind(built("chaos"), "Deployment", "reliq-worker"))
    assert container["startupProbe"]["httpGet"] == {"path": "/ready", "port": "http"}
    assert container["startupProbe"]["periodSeconds"] == 1
    assert {"readinessProbe", "livenessProbe"}.isdisjoint(container)
    assert [one["name"] for one in container["ports"]] == ["http"]


def test_the_image_holds_what_the_jobs_import() -> None:
    text = (DEPLOY / "chaos" / "Dockerfile").read_text()
    copied = [line.split()[1] for line in text.splitlines() if line.startswith("COPY")]
    assert copied == ["dist/*.whl", "chaos/"]
    imported = set()
    for name in ("__init__", "jobs", "records"):
        for node in ast.walk(ast.parse((ROOT / "chaos" / f"{name}.py").read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module or "")
    ours = {name for name in imported if name.split(".")[0] == "chaos"}
    assert ours == {"chaos.records"}
    assert {name.split(".")[0] for name in imported - ours} - sys.stdlib_module_names == {"reliq", "attrs"}


@pytest.mark.parametrize("page", ["deploy/README.md", "docs/chaos-kubernetes.md"])
def test_the_pages_name_files_that_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    names = {word.strip("`.,;:()") for word in text.replace("\n", " ").split() if "/" in word}
    files = {name for name in names if name.startswith(("deploy/", "docs/", "chaos/", "tests/"))}
    assert files
    assert not [name for name in files if not (ROOT / name).exists()]
