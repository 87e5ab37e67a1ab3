"""What `kubectl apply -k` would send: Kubernetes' own schemas take it, and its parts find each other."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import click
import kubernetes_validate
import pytest
import yaml

from chaos.servers import Server
from reliq.cli import cli
from tests.contract.places import ROOT

pytestmark = pytest.mark.skipif(
    shutil.which("kubectl") is None and "CI" not in os.environ, reason="kubectl is not installed"
)

FOLDERS = ["kubernetes/base", "kubernetes/overlays/development", "kubernetes/overlays/production", "chaos"]
VERSIONS = ["1.30", "1.37"]
"""The oldest and the newest Kubernetes that the manifests are held to."""
each_folder = pytest.mark.parametrize("folder", FOLDERS)


def rendered(folder: str | Path) -> str:
    """What kustomize makes of a folder below deploy/."""
    path = ROOT / "deploy" / folder
    done = subprocess.run(["kubectl", "kustomize", str(path)], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(text: str) -> list[dict[str, Any]]:
    """The objects of a rendered text."""
    return list(yaml.safe_load_all(text))


def pods(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The pod templates, by name of what makes them."""
    makers = [one for one in found if one["kind"] in ("Deployment", "StatefulSet")]
    return {one["metadata"]["name"]: one["spec"]["template"] for one in makers}


@each_folder
@pytest.mark.parametrize("version", VERSIONS)
def test_the_schemas_take_every_object(folder: str, version: str) -> None:
    for one in objects(rendered(folder)):
        kubernetes_validate.validate(one, version, strict=True)


def test_the_schemas_refuse_what_is_misspelt() -> None:
    (budget,) = [one for one in objects(rendered("kubernetes/base")) if one["kind"] == "PodDisruptionBudget"]
    budget["spec"]["maxUnavailabel"] = budget["spec"].pop("maxUnavailable")
    with pytest.raises(kubernetes_validate.ValidationError, match="maxUnavailabel"):
        kubernetes_validate.validate(budget, VERSIONS[-1], strict=True)


@each_folder
def test_what_is_named_is_there(folder: str) -> None:
    found = objects(rendered(folder))
    names = {(one["kind"], one["metadata"]["name"]) for one in found}
    for name, pod in pods(found).items():
        account = pod["spec"].get("serviceAccountName")
        assert account is None or ("ServiceAccount", account) in names, name
    labels = [pod["metadata"]["labels"] for pod in pods(found).values()]
    for one in found:
        if one["kind"] in ("Service", "PodDisruptionBudget"):
            selector = one["spec"]["selector"]
            wanted = selector.get("matchLabels", selector)
            assert sum(wanted.items() <= own.items() for own in labels) == 1, one["metadata"]["name"]


@each_folder
def test_no_pod_has_a_right_that_it_does_not_use(folder: str) -> None:
    for name, pod in pods(objects(rendered(folder))).items():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsNonRoot"], name
        for container in spec["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"], name
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["limits"]["memory"], name


@each_folder
def test_reliq_understands_each_command(folder: str) -> None:
    for name, pod in pods(objects(rendered(folder))).items():
        for container in pod["spec"]["containers"]:
            if container["command"] == ["reliq"]:
                verb, *rest = container["args"]
                command = cli.get_command(click.Context(cli), verb)
                assert command is not None, name
                command.make_context(verb, rest)


# The chaos overlay is tight on purpose: a run is to be quick. That it fits is held by tests/chaos/test_manifests.py.
@pytest.mark.parametrize("folder", [name for name in FOLDERS if name != "chaos"])
def test_doctor_finds_that_a_stop_has_its_time(folder: str, server: Server, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "reliq", "doctor", "--json", "--check=shutdown", "--manifest=-", f"--url={server.url}"],
        input=rendered(folder),
        cwd=tmp_path,  # away from a reliq.toml
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (finding,) = json.loads(done.stdout)["findings"]
    assert finding["level"] == "ok", finding
    assert "Deployment/reliq-worker" in finding["what"]


def test_policies_let_in_what_the_probes_and_services_use() -> None:
    found = objects(rendered("kubernetes/overlays/production"))
    by_name = {(one["kind"], one["metadata"]["name"]): one for one in found}
    for name, policy in (("reliq-worker", "reliq-worker-in"), ("reliq-exporter", "reliq-exporter-in")):
        (rule,) = by_name["NetworkPolicy", policy]["spec"]["ingress"]
        (container,) = pods(found)[name]["spec"]["containers"]
        (port,) = container["ports"]
        assert f"--http=:{port['containerPort']}" in container["args"]
        assert [one["port"] for one in rule["ports"]] == [port["containerPort"]]
        probes = [container[key]["httpGet"]["port"] for key in container if key.endswith("Probe")]
        assert set(probes) == {port["name"]}
        wanted = by_name["NetworkPolicy", policy]["spec"]["podSelector"]["matchLabels"]
        assert wanted.items() <= pods(found)[name]["metadata"]["labels"].items()
    (service,) = [one for one in found if one["kind"] == "Service"]
    assert service["spec"]["ports"][0]["targetPort"] == "metrics"


def test_keda_scales_what_is_there_by_a_number_that_is_there(tmp_path: Path) -> None:
    found = with_component("keda", tmp_path)
    (scaled,) = [one for one in found if one["kind"] == "ScaledObject"]
    (deployment,) = [one for one in found if one["kind"] == "Deployment" and one["metadata"]["name"] == "reliq-worker"]
    assert scaled["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"], "KEDA alone says how many"
    (trigger,) = scaled["spec"]["triggers"]
    url = urlsplit(trigger["metadata"]["url"])
    (service,) = [one for one in found if one["kind"] == "Service"]
    namespace = scaled["metadata"]["namespace"]
    assert url.hostname == f"{service['metadata']['name']}.{namespace}.svc.cluster.local"
    assert url.port == service["spec"]["ports"][0]["port"]
    assert url.path == "/scale"
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    command = cli.get_command(click.Context(cli), "worker")
    assert command is not None
    options = command.make_context("worker", container["args"][1:]).params
    assert parse_qs(url.query)["queue"] == [str(queue).partition(",")[0] for queue in options["queues"]]
    assert int(trigger["metadata"]["targetValue"]) == options["processes"] * options["concurrency"]


def test_monitoring_finds_the_ports_of_pods(tmp_path: Path) -> None:
    found = with_component("monitoring", tmp_path)
    monitors = [one for one in found if one["kind"] == "PodMonitor"]
    assert len(monitors) == 2
    for one in monitors:
        wanted = one["spec"]["selector"]["matchLabels"]
        (pod,) = [pod for pod in pods(found).values() if wanted.items() <= pod["metadata"]["labels"].items()]
        (endpoint,) = one["spec"]["podMetricsEndpoints"]
        assert [port["name"] for port in pod["spec"]["containers"][0]["ports"]] == [endpoint["port"]]
        assert endpoint["path"] == "/metrics"


def with_component(name: str, folder: Path) -> list[dict[str, Any]]:
    """The production overlay with one more component."""
    kubernetes = folder / "kubernetes"
    shutil.copytree(ROOT / "deploy" / "kubernetes", kubernetes)
    overlay = kubernetes / "overlays" / "production" / "kustomization.yaml"
    text = overlay.read_text(encoding="utf-8")
    assert f"  #- ../../components/{name}\n" in text
    overlay.write_text(text.replace(f"#- ../../components/{name}", f"- ../../components/{name}"), encoding="utf-8")
    return objects(rendered(overlay.parent))


def test_pod_deletion_cost_fits_on_the_production_overlay(tmp_path: Path) -> None:
    found = with_component("pod-deletion-cost", tmp_path)
    for one in found:
        kubernetes_validate.validate(one, VERSIONS[-1], strict=True)
    spec = pods(found)["reliq-exporter"]["spec"]
    assert spec["serviceAccountName"] == "reliq-exporter"
    assert spec["automountServiceAccountToken"] is True
    assert "--pod-deletion-cost" in spec["containers"][0]["args"]
