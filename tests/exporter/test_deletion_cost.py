"""Pods that do least are told to Kubernetes as the cheapest to delete."""

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from chaos.eventually import eventually
from chaos.servers import Server
from reliq.cli.exporter import exporter as command
from reliq.errors import ConfigError
from reliq.exporter.deletion import ANNOTATION, EVERY, DeletionCost, costs
from reliq.exporter.kubernetes import Pods
from reliq.exporter.reader import Reader
from reliq.survey import Surveyor
from tests.cli.conftest import Start, home, start
from tests.contract.places import ROOT
from tests.counterexamples.stage import HandClock
from tests.exporter.apiserver import ApiServer
from tests.exporter.conftest import Stage
from tests.exporter.test_scale import process, survey

__all__ = ["home", "start"]

COMPONENT = ROOT / "deploy" / "kubernetes" / "components" / "pod-deletion-cost"
WEB = [f"web-{number}:7:0123456789ab" for number in range(4)]

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None and "CI" not in os.environ, reason="openssl is not installed"
)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiServer]:
    """With the pods web-0 to web-2."""
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    with ApiServer(folder, ["web-0", "web-1", "web-2"]) as made:
        yield made


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def duty(surveyor: Surveyor, api: ApiServer, clock: HandClock) -> DeletionCost:
    """It ticks when it is told to."""
    return DeletionCost(Reader(surveyor, clock), Pods.around(api.environment, api.folder))


def tick(duty: DeletionCost, clock: HandClock) -> None:
    clock.now += EVERY
    assert duty.tick() == EVERY


# -- what it says


@pytest.mark.parametrize(
    ("busy", "cost"), [(0, 0), (1, 1), (2, 2), (3, 2), (4, 4), (7, 4), (8, 8), (500, 256)], ids=str
)
def test_the_cost_is_the_number_of_jobs_in_steps(busy: int, cost: int) -> None:
    assert costs(survey(processes=(process("mail", busy=busy),))) == {"w": cost}


def test_a_pod_is_all_its_processes_and_only_the_living_count() -> None:
    found = survey(
        processes=(process("mail", busy=3), process("mail", busy=4, quarantine=True), process("mail", alive=False))
    )
    assert costs(found) == {"w": 4}
    assert costs(survey(processes=(process("mail", alive=False),))) == {}


# -- telling


@needs_openssl
def test_it_tells_what_each_pod_does_and_later_only_what_changed(
    duty: DeletionCost, api: ApiServer, clock: HandClock, stage: Stage
) -> None:
    for identity in WEB[:3]:
        stage.process(identity)
    stage.jobs(f"private:{WEB[1]}:mail", 3)
    tick(duty, clock)
    assert api.told() == {"web-0": "0", "web-1": "2", "web-2": "0"}
    assert {(one.method, one.kind, one.token) for one in api.asked} == {
        ("PATCH", "application/merge-patch+json", "first")
    }
    api.asked.clear()
    stage.jobs(f"private:{WEB[2]}:mail", 1)
    tick(duty, clock)
    assert [(one.path, one.body) for one in api.asked] == [
        ("/api/v1/namespaces/shop/pods/web-2", {"metadata": {"annotations": {ANNOTATION: "1"}}})
    ]
    tick(duty, clock)
    assert len(api.asked) == 1


@needs_openssl
def test_a_host_that_is_no_pod_here_is_asked_for_once(
    duty: DeletionCost, api: ApiServer, clock: HandClock, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.process(WEB[3])
    stage.process("../secrets/x:7:0123456789ab")
    stage.process("Laptop:7:0123456789ab")
    for _ in range(3):
        tick(duty, clock)
    assert [one.path.rpartition("/")[2] for one in api.asked] == ["web-3"]
    assert caplog.records == []
    stage.client.delete("fleet")
    tick(duty, clock)
    stage.process(WEB[3])
    tick(duty, clock)
    assert len(api.asked) == 2, "it came anew"


@needs_openssl
def test_a_token_that_was_replaced_is_read_again(
    duty: DeletionCost, api: ApiServer, clock: HandClock, stage: Stage
) -> None:
    stage.process(WEB[0])
    tick(duty, clock)
    (api.folder / "token").write_text("second", encoding="ascii")
    stage.jobs(f"private:{WEB[0]}:mail", 1)
    tick(duty, clock)
    assert [one.token for one in api.asked] == ["first", "second"]


# -- trouble


@needs_openssl
@pytest.mark.parametrize(("status", "asked"), [(401, 1), (403, 1), (429, 1), (500, 3)])
def test_a_refusal_is_said_once_and_tried_again(
    duty: DeletionCost,
    api: ApiServer,
    clock: HandClock,
    stage: Stage,
    *,
    status: int,
    asked: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    for identity in WEB[:3]:
        stage.process(identity)
    api.refuse["*"] = status
    for _ in range(2):
        tick(duty, clock)
    assert len(api.asked) == 2 * asked
    [said] = caplog.records
    assert said.getMessage().startswith(f"cannot set the deletion cost of pods, trying again: {status}, ")
    api.refuse.clear()
    tick(duty, clock)
    assert set(api.told()) == {"web-0", "web-1", "web-2"}
    assert caplog.records[-1].getMessage() == "the deletion cost of pods can be set again"


@needs_openssl
def test_one_pod_that_cannot_be_told_does_not_keep_the_others_from_it(
    duty: DeletionCost, api: ApiServer, clock: HandClock, stage: Stage
) -> None:
    for identity in WEB[:3]:
        stage.process(identity)
    api.refuse["web-0"] = 500
    tick(duty, clock)
    assert set(api.told()) == {"web-1", "web-2"}


@needs_openssl
def test_an_api_server_that_is_away_is_said_once(
    duty: DeletionCost, api: ApiServer, clock: HandClock, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.process(WEB[0])
    api.stop()
    for _ in range(2):
        tick(duty, clock)
    [said] = caplog.records
    assert "Connection refused" in said.getMessage()


@needs_openssl
def test_an_api_server_with_another_certificate_gets_no_token(
    duty: DeletionCost, api: ApiServer, clock: HandClock, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    other = api.folder / "other"
    other.mkdir()
    with ApiServer(other, ["web-0"]) as impostor:
        stage.process(WEB[0])
        stranger = DeletionCost(duty._reader, Pods("127.0.0.1", impostor.port, api.folder))
        tick(stranger, clock)
        assert impostor.asked == []
    assert "certificate verify failed" in caplog.records[0].getMessage()


@needs_openssl
def test_while_redis_is_away_what_was_told_stays(
    api: ApiServer, clock: HandClock, stage: Stage, surveyor: Surveyor, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.process(WEB[0])
    stage.jobs(f"private:{WEB[0]}:mail", 1)
    duty = DeletionCost(Reader(surveyor, clock), Pods.around(api.environment, api.folder))
    tick(duty, clock)

    def away() -> Any:
        raise ConfigError("no answer")

    monkeypatch.setattr(surveyor, "survey", away)
    tick(duty, clock)
    assert api.told() == {"web-0": "1"}
    assert len(api.asked) == 1


# -- as a program


@needs_openssl
def test_the_program_tells_it(api: ApiServer, stage: Stage, server: Server, tmp_path: Path) -> None:
    stage.process(WEB[1])
    stage.jobs(f"private:{WEB[1]}:mail", 1)
    # In a pod the folder is always the same; here it cannot be.
    code = f"""
import pathlib
from reliq.cli import main
from reliq.exporter import kubernetes
kubernetes.FOLDER = pathlib.Path({str(api.folder)!r})
main()
"""
    program = subprocess.Popen(
        [sys.executable, "-c", code, "exporter", "--http", "127.0.0.1:0", "--url", server.url, "--pod-deletion-cost"],
        cwd=tmp_path,
        env={**os.environ, **api.environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        eventually(lambda: api.told() == {"web-1": "1"}, 15, "the pod is told")
    finally:
        program.terminate()
        said = program.communicate(timeout=15)[1]
    assert program.returncode == 0
    assert len(said.splitlines()) == 1, said


@needs_openssl
@pytest.mark.parametrize("missing", ["token", "namespace", "ca.crt"])
def test_without_a_service_account_it_says_what_is_missing(api: ApiServer, missing: str) -> None:
    (api.folder / missing).unlink()
    with pytest.raises(ConfigError, match=rf"cannot read .*/{missing}: give the pod a service account"):
        list(Pods.around(api.environment, api.folder).annotate({"web-0": {}}))


@needs_openssl
def test_a_certificate_that_is_none_is_said(api: ApiServer) -> None:
    (api.folder / "ca.crt").write_text("nothing", encoding="ascii")
    with pytest.raises(ConfigError, match=r"ca\.crt is no certificate"):
        Pods.around(api.environment, api.folder)


def test_outside_of_kubernetes_it_is_refused(start: Start, server: Server) -> None:
    program = start("exporter", "--http", "127.0.0.1:0", "--url", server.url, "--pod-deletion-cost")
    assert program.wait() == 2
    assert program.complaint().startswith("--pod-deletion-cost works inside of Kubernetes only")


# -- the manifest


@pytest.mark.skipif(shutil.which("kubectl") is None and "CI" not in os.environ, reason="kubectl is not installed")
def test_the_component_gives_the_exporter_the_option_and_the_right_it_needs(tmp_path: Path) -> None:
    shutil.copytree(COMPONENT, tmp_path / "component")
    container = {"name": "exporter", "command": ["reliq"], "args": ["exporter", "--http=:9798"]}
    spec = {"serviceAccountName": "reliq", "automountServiceAccountToken": False, "containers": [container]}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "reliq-exporter"},
        "spec": {"template": {"spec": spec}},
    }
    (tmp_path / "exporter.yaml").write_text(yaml.safe_dump(deployment), encoding="utf-8")
    (tmp_path / "kustomization.yaml").write_text(
        yaml.safe_dump({"namespace": "shop", "resources": ["exporter.yaml"], "components": ["component"]}),
        encoding="utf-8",
    )
    text = subprocess.run(["kubectl", "kustomize", str(tmp_path)], check=True, capture_output=True, text=True).stdout
    found = {one["kind"]: one for one in yaml.safe_load_all(text)}
    pod = found["Deployment"]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is True
    assert pod["serviceAccountName"] == found["ServiceAccount"]["metadata"]["name"]
    with command.make_context("exporter", pod["containers"][0]["args"][1:]) as context:
        assert context.params["pod_deletion_cost"] is True
    assert found["Role"]["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}]
    assert found["RoleBinding"]["roleRef"]["name"] == found["Role"]["metadata"]["name"]
    [subject] = found["RoleBinding"]["subjects"]
    assert (subject["name"], subject["namespace"]) == (pod["serviceAccountName"], "shop")
