"""The kubectl driver with the real program kubectl, in front of a stand-in for an API server.

It shows that the command lines exist and what they ask for. What a cluster then does with it, no test here shows.
"""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chaos.eventually import eventually
from chaos.pods.kubecall import Kubectl, KubectlError
from chaos.pods.kubectl import KubectlCluster
from chaos.records import PodEvent
from chaos.servers import Server
from tests.chaos.apiserver import ApiServer, Exec
from tests.chaos.container import Container, why_not
from tests.chaos.recorded import objects, pod

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")

NAMESPACE = "reliq-chaos"
READY = "reliq-worker-7c9f8d6b5d-8hj7w"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
DEPLOYMENT = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/reliq-worker"


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    """A stand-in with two ready pods on two nodes, which kubectl's context `standin` means."""
    pods = [pod("ready"), pod("terminating")]
    del pods[1]["metadata"]["deletionTimestamp"]
    with ApiServer(objects()["deployment"], pods, ["kind-worker", "kind-worker2"]) as server:
        (tmp_path / "config").write_text(server.kubeconfig("standin"))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        monkeypatch.setenv("KUBECACHEDIR", str(tmp_path / "cache"))
        yield server


@pytest.fixture
def events() -> list[PodEvent]:
    """What the cluster noted."""
    return []


@pytest.fixture
def cluster(api: ApiServer, events: list[PodEvent]) -> KubectlCluster:
    """The driver in front of it."""
    kubectl = Kubectl(context="standin", namespace=NAMESPACE)
    made = KubectlCluster(kubectl, "reliq-worker", events.append, every=0.0)
    api.asked.clear()
    return made


def asked(api: ApiServer) -> list[tuple[str, str, Any]]:
    """What it was asked to change: method, path, body."""
    return [(one.method, one.path, one.body) for one in api.asked]


def test_the_real_kubectl_reads_pods_and_rights(api: ApiServer, cluster: KubectlCluster) -> None:
    assert len(cluster.verbs) == 9
    assert [(one.replica, one.running(), one.ready()) for one in cluster.pods()] == [
        (READY, True, True),
        (api.pods[1]["metadata"]["name"], True, True),
    ]
    api.denied = {"create pods/exec", "patch deployments/scale", "patch nodes"}
    limited = KubectlCluster(Kubectl(context="standin", namespace=NAMESPACE), "reliq-worker", lambda event: None)
    assert limited.verbs == {"delete", "delete-now", "restart"}


def test_deletions_carry_their_grace(api: ApiServer, cluster: KubectlCluster, events: list[PodEvent]) -> None:
    first, second = cluster.pods()
    first.delete(5)
    second.delete(0)
    cluster.tick()
    options = {"propagationPolicy": "Background"}
    assert asked(api) == [
        ("DELETE", f"{PODS}/{first.replica}", {"gracePeriodSeconds": 5, **options}),
        ("DELETE", f"{PODS}/{second.replica}", {"gracePeriodSeconds": 0, **options}),
    ]
    assert [one.replica for one in cluster.pods()] == [first.replica]
    assert [(event.pod, event.what) for event in events if event.what in ("term", "end")] == [
        (first.name, "term"),
        (second.name, "term"),
        (second.name, "end"),
    ]


def test_scale_and_rollout_change_the_deployment(api: ApiServer, cluster: KubectlCluster) -> None:
    cluster.scale(5)
    cluster.rollout_restart()
    scaled, restarted = asked(api)
    assert scaled == ("PATCH", f"{DEPLOYMENT}/scale", {"spec": {"replicas": 5}})
    assert restarted[:2] == ("PATCH", DEPLOYMENT)
    assert list(restarted[2]["spec"]["template"]["metadata"]["annotations"]) == ["kubectl.kubernetes.io/restartedAt"]
    api.deployment["status"] |= {"updatedReplicas": 1, "replicas": 5}
    assert cluster.rolling()
    api.deployment["status"] |= {"updatedReplicas": 5, "replicas": 5, "availableReplicas": 5}
    assert not cluster.rolling()


def test_a_drain_evicts_the_pods_of_one_node_and_opens_it_again(api: ApiServer, cluster: KubectlCluster) -> None:
    first, second = cluster.pods()
    api.pods.append(pod("ready", metadata={"name": "somebody-elses", "labels": {"app": "other"}}))
    cluster.drain(first)
    eventually(lambda: api.nodes["kind-worker"]["unschedulable"], why="the node is closed")

    def opened() -> bool:
        cluster.tick()
        return not api.nodes["kind-worker"]["unschedulable"]

    eventually(opened, why="the node is open again")
    changes = [(method, path) for method, path, _ in asked(api)]
    assert changes == [
        ("PATCH", "/api/v1/nodes/kind-worker"),
        ("POST", f"{PODS}/{first.replica}/eviction"),
        ("PATCH", "/api/v1/nodes/kind-worker"),
    ]
    assert [one.replica for one in cluster.pods()] == [second.replica]


def test_errors_of_the_real_kubectl_are_known(api: ApiServer, cluster: KubectlCluster) -> None:
    kubectl = Kubectl(context="standin", namespace=NAMESPACE)
    with pytest.raises(KubectlError, match=r'deployments.apps "nope" not found: create it'):
        KubectlCluster(kubectl, "nope", lambda event: None)
    with pytest.raises(KubectlError, match="kubectl config get-contexts"):
        KubectlCluster(Kubectl(context="nope"), "reliq-worker", lambda event: None)
    first, _ = cluster.pods()
    api.pods.clear()
    assert first.kill_main() == ()  # it is gone, which is no error


def test_no_cluster_is_said_so(api: ApiServer, cluster: KubectlCluster) -> None:
    api.stop()
    with pytest.raises(KubectlError, match="see whether the cluster runs"):
        cluster.scale(1)


@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_a_worker_is_killed_through_kubectl_exec(
    api: ApiServer, cluster: KubectlCluster, events: list[PodEvent], server: Server, tmp_path: Path
) -> None:
    """All but the cluster is real: kubectl, its exec, the program inside, a worker in a pid namespace of its own."""
    first, _ = cluster.pods()
    with Container(server, tmp_path) as container:

        def execute(name: str, command: list[str]) -> Exec:
            assert name == first.replica
            done = container.run(command)
            return Exec(done.stdout, done.stderr, done.returncode)

        api.execute = execute
        children = first.children()
        assert sorted(children) == sorted(entry["pid"] for entry in container.entries())
        assert first.kill_child(0) == children[:1]
        assert children[0] not in first.members()
        members = first.members()
        assert first.freeze() == members
        first.thaw()
        assert set(first.kill_all()) >= {members[0]}
        assert not first.running()
        assert first.members() == ()
    assert {"EXEC", "DELETE"} == {method for method, *_ in asked(api)}
    assert (events[-1].what, events[-1].detail["code"]) == ("end", -9)


FLAGS = {
    "get": ["--selector", "--output"],
    "delete": ["--grace-period", "--force", "--wait"],
    "exec": ["--container"],
    "scale": ["--replicas"],
    "rollout restart": [],
    "rollout status": ["--watch"],
    "drain": ["--ignore-daemonsets", "--delete-emptydir-data", "--force", "--pod-selector", "--timeout"],
    "uncordon": [],
    "auth can-i": ["--subresource"],
    "options": ["--context", "--namespace"],
}


@pytest.mark.parametrize("verb", FLAGS)
def test_the_flags_exist(verb: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    words = ["kubectl", *verb.split()] + ([] if verb == "options" else ["--help"])
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    for flag in FLAGS[verb]:
        assert f"{flag}=" in text, flag
