"""The kubectl driver, on a recorded kubectl: each verb's command line, and what becomes of its errors."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chaos.eventually import eventually
from chaos.pods import kubectl as driver
from chaos.pods.base import Cluster
from chaos.pods.kubecall import Gone, Kubectl, KubectlError
from chaos.pods.kubectl import KubectlCluster
from chaos.pods.kubepod import SOURCE, KubectlPod
from chaos.records import PodEvent
from tests.chaos.recorded import DEPLOYMENT, LIST, RecordedKubectl, objects, pod

READY = "reliq-worker-7c9f8d6b5d-8hj7w"
EXEC = ["exec", READY, "-c", "worker", "--", "python3", "-c", "$INSIDE"]
MEMBERS, CHILDREN = (7, 14, 15, 16, 17), (16, 17)
ALL = {"kill-all", "kill-main", "kill-child", "delete", "delete-now", "freeze", "scale", "restart", "drain"}


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[RecordedKubectl]:
    """A recorded kubectl that was asked nothing it does not know, when the test is over."""
    program = RecordedKubectl(tmp_path)
    yield program
    assert not program.unknown()


def kubectl(recorded: RecordedKubectl) -> Kubectl:
    return Kubectl(program=str(recorded.path), timeout=10.0)


@pytest.fixture
def events() -> list[PodEvent]:
    """What the cluster noted."""
    return []


Make = Callable[..., KubectlCluster]


@pytest.fixture
def make(recorded: RecordedKubectl, events: list[PodEvent]) -> Make:
    """Makes a cluster of one ready pod (or of `pods`) in which everything is allowed, and which looks every time."""

    def cluster(*pods: dict[str, Any], every: float = 0.0) -> KubectlCluster:
        recorded.finds()
        recorded.allows_all()
        recorded.lists(*(pods or (pod("ready"),)))
        return KubectlCluster(kubectl(recorded), "reliq-worker", events.append, every=every)

    return cluster


def only(cluster: KubectlCluster) -> KubectlPod:
    """The one pod there is."""
    (one,) = cluster.pods()
    assert isinstance(one, KubectlPod)
    return one


def acts(recorded: RecordedKubectl) -> list[list[str]]:
    """The command lines so far, without the looks at the list and those of the beginning."""
    return [call for call in recorded.calls if call not in (list(LIST), list(DEPLOYMENT)) and call[0] != "auth"]


# -- the beginning


def test_it_asks_for_the_deployment_for_its_rights_and_for_the_pods(recorded: RecordedKubectl, make: Make) -> None:
    cluster: Cluster = make()
    assert recorded.calls == [
        list(DEPLOYMENT),
        ["auth", "can-i", "delete", "pods"],
        ["auth", "can-i", "create", "pods", "--subresource=exec"],
        ["auth", "can-i", "patch", "deployments.apps", "--subresource=scale"],
        ["auth", "can-i", "patch", "deployments.apps"],
        ["auth", "can-i", "patch", "nodes"],
        ["auth", "can-i", "create", "pods", "--subresource=eviction"],
        list(LIST),
    ]
    assert cluster.verbs == ALL


def test_without_a_shared_pid_namespace_nothing_can_be_killed_whole(recorded: RecordedKubectl) -> None:
    deployment = objects()["deployment"]
    del deployment["spec"]["template"]["spec"]["shareProcessNamespace"]
    recorded.finds(deployment)
    recorded.allows_all()
    recorded.lists()
    cluster = KubectlCluster(kubectl(recorded), "reliq-worker", lambda event: None)
    assert cluster.verbs == ALL - {"kill-all", "kill-main", "freeze"}


@pytest.mark.parametrize(
    ("words", "lost"),
    [
        (["delete", "pods"], {"delete", "delete-now", "kill-all"}),
        (["create", "pods", "--subresource=exec"], {"kill-all", "kill-main", "kill-child", "freeze"}),
        (["patch", "deployments.apps", "--subresource=scale"], {"scale"}),
        (["patch", "deployments.apps"], {"restart"}),
        (["patch", "nodes"], {"drain"}),
        (["create", "pods", "--subresource=eviction"], {"drain"}),
    ],
)
def test_what_the_account_may_not_do_is_no_verb(
    recorded: RecordedKubectl, make: Make, words: list[str], lost: set[str]
) -> None:
    recorded.says(["auth", "can-i", *words], "no\n", code=1)
    assert make().verbs == ALL - lost


def test_context_and_namespace_stand_before_every_verb(recorded: RecordedKubectl) -> None:
    recorded.says(["--context", "kind-kind", "--namespace", "reliq-chaos", "get", "pods", "-o", "json"], "{}")
    call = Kubectl(program=str(recorded.path), context="kind-kind", namespace="reliq-chaos")
    assert call.read("get", "pods") == {}


def test_kubectl_is_found_on_path(recorded: RecordedKubectl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(recorded.path.parent), prepend=":")
    recorded.says(["version", "--client", "-o", "json"], '{"clientVersion": {}}')
    assert Kubectl().read("version", "--client") == {"clientVersion": {}}


# -- pods


ACTS: dict[str, Callable[[KubectlPod], object]] = {
    "kill-main": lambda pod: pod.kill_main(),
    "kill-child 3": lambda pod: pod.kill_child(3),
    "freeze": lambda pod: pod.freeze(),
    "thaw": lambda pod: pod.thaw(),
}


@pytest.mark.parametrize(
    ("words", "hit"), [("kill-main", MEMBERS), ("kill-child 3", (17,)), ("freeze", MEMBERS), ("thaw", None)]
)
def test_what_is_done_inside_a_pod(recorded: RecordedKubectl, make: Make, words: str, hit: object) -> None:
    recorded.knows("look", words.split(maxsplit=1)[0])
    one = only(make())
    assert ACTS[words](one) == hit
    assert acts(recorded)[-1] == [*EXEC, *words.split()]
    assert one.running() is (words != "kill-main")


def test_kill_all_kills_inside_and_then_deletes_the_pod(recorded: RecordedKubectl, make: Make) -> None:
    recorded.knows("look", "kill-all", "delete now")
    one = only(make())
    assert one.kill_all() == MEMBERS
    assert acts(recorded) == [
        [*EXEC, "look"],
        [*EXEC, "kill-all"],
        ["delete", "pod", READY, "--grace-period=0", "--force", "--wait=false"],
    ]
    assert not one.running()
    assert one.exit_code() == -9


@pytest.mark.parametrize(
    ("grace", "words"),
    [(5, ["--grace-period=5"]), (4.2, ["--grace-period=5"]), (0, ["--grace-period=0", "--force"])],
)
def test_delete(recorded: RecordedKubectl, make: Make, grace: float, words: list[str]) -> None:
    recorded.knows("delete", "delete now")
    only(make()).delete(grace)
    assert acts(recorded) == [["delete", "pod", READY, *words, "--wait=false"]]


def test_a_pod_that_is_told_to_go_is_not_ready(recorded: RecordedKubectl, make: Make) -> None:
    recorded.knows("delete")
    one = only(make())
    assert one.ready()
    one.delete(5)
    assert one.running()
    assert not one.ready()


def test_processes_are_asked_for_once_a_second_and_anew_after_a_kill(recorded: RecordedKubectl, make: Make) -> None:
    recorded.knows("look", "kill-child")
    one = only(make(every=60.0))
    assert (one.members(), one.children(), one.members()) == (MEMBERS, CHILDREN, MEMBERS)
    assert acts(recorded) == [[*EXEC, "look"]]
    one.kill_child(3)
    one.children()
    assert acts(recorded)[1:] == [[*EXEC, "kill-child", "3"], [*EXEC, "look"]]


def test_a_change_of_its_processes_is_noted(recorded: RecordedKubectl, make: Make, events: list[PodEvent]) -> None:
    recorded.knows("look", "look")
    later = {"main": 7, "members": [7, 14, 15, 16, 18], "children": [16, 18], "hit": []}
    recorded.says([*EXEC, "look"], json.dumps(later))
    one = only(make())
    for _ in range(3):
        one.members()
    noted = [event.detail for event in events if event.what == "members"]
    assert noted == [
        {"pids": MEMBERS, "children": CHILDREN, "main": 7},
        {"pids": (7, 14, 15, 16, 18), "children": (16, 18), "main": 7},
    ]


@pytest.mark.parametrize(
    "error",
    [
        f'Error from server (NotFound): pods "{READY}" not found',
        'error: unable to upgrade connection: container not found ("worker")',
        "error: cannot exec into a container in a completed pod; current phase is Failed",
        "error: Internal error occurred: failed to exec in container: container is in CONTAINER_EXITED state",
    ],
)
def test_a_pod_that_is_gone_has_no_processes_and_nothing_to_hit(
    recorded: RecordedKubectl, make: Make, error: str
) -> None:
    for words in (["look"], ["kill-main"], ["kill-all"], ["kill-child", "0"], ["freeze"], ["thaw"]):
        recorded.says([*EXEC, *words], err=f"{error}\n", code=1)
    recorded.knows("delete now of one that is gone")
    one = only(make())
    assert (one.members(), one.children()) == ((), ())
    assert (one.kill_main(), one.kill_all(), one.kill_child(0), one.freeze()) == ((), (), (), ())
    one.thaw()
    one.delete(0)


def test_a_kill_whose_word_was_lost_has_hit_what_was_there(recorded: RecordedKubectl, make: Make) -> None:
    recorded.knows("look")
    recorded.says([*EXEC, "kill-main"], err="command terminated with exit code 137\n", code=137)
    one = only(make())
    assert one.kill_main() == MEMBERS
    assert not one.running()


def test_a_look_that_the_end_of_the_container_cut_off_saw_nothing(recorded: RecordedKubectl, make: Make) -> None:
    recorded.knows("look killed too early")
    assert only(make()).members() == ()


# -- the Deployment


def test_scale(recorded: RecordedKubectl, make: Make) -> None:
    recorded.knows("scale")
    make().scale(5)
    assert acts(recorded) == [["scale", "deployment/reliq-worker", "--replicas=5"]]


def test_a_rollout_and_its_end(recorded: RecordedKubectl, make: Make) -> None:
    recorded.knows("rollout restart", "rollout under way", "rollout over")
    cluster = make()
    cluster.rollout_restart()
    assert [cluster.rolling(), cluster.rolling()] == [True, False]
    status = ["rollout", "status", "deployment/reliq-worker", "--watch=false"]
    assert acts(recorded) == [["rollout", "restart", "deployment/reliq-worker"], status, status]


DRAIN = [
    *("drain", "kind-worker", "--ignore-daemonsets", "--delete-emptydir-data", "--force"),
    "--pod-selector=app.kubernetes.io/component=worker,app.kubernetes.io/name=reliq",
    "--timeout=40s",
]


def tick_until_open(cluster: KubectlCluster, recorded: RecordedKubectl) -> None:
    def opened() -> bool:
        cluster.tick()
        return ["uncordon", "kind-worker"] in recorded.calls

    eventually(opened, why="the node is opened again")


def test_a_drain_goes_on_in_the_background_and_then_the_node_is_opened(recorded: RecordedKubectl, make: Make) -> None:
    recorded.knows("drain", "uncordon")
    cluster = make(pod("ready"), pod("oom-killed"))
    for one in cluster.pods():
        cluster.drain(one)  # both are on one node
    tick_until_open(cluster, recorded)
    cluster.tick()
    assert acts(recorded) == [DRAIN, ["uncordon", "kind-worker"]]


def test_a_drain_that_fails_is_an_error_and_the_node_is_opened(recorded: RecordedKubectl, make: Make) -> None:
    recorded.says(DRAIN, err='error: unable to drain node "kind-worker" due to error: global timeout reached\n', code=1)
    recorded.knows("uncordon")
    cluster = make()
    cluster.drain(only(cluster))
    with pytest.raises(KubectlError, match=r"kubectl drain: .*global timeout reached"):
        tick_until_open(cluster, recorded)
    assert acts(recorded) == [DRAIN, ["uncordon", "kind-worker"]]


def test_close_thaws_opens_nodes_gives_back_the_replicas_and_waits(recorded: RecordedKubectl, make: Make) -> None:
    recorded.knows("freeze", "thaw", "uncordon")
    recorded.says(DRAIN, seconds=60)
    recorded.says(["scale", "deployment/reliq-worker", "--replicas=3"], "deployment.apps/reliq-worker scaled\n")
    cluster = make(*(pod("ready", metadata={"uid": str(number)}) for number in range(5)), every=0.01)
    one = next(one for one in cluster.pods() if isinstance(one, KubectlPod))
    recorded.lists(*(pod("terminating", metadata={"uid": str(number)}) for number in range(4)))
    recorded.lists(pod("ready"), pod("not-ready"), pod("pending"), pod("evicted"))
    one.freeze()
    cluster.drain(one)
    cluster.close()
    done = [call for call in acts(recorded) if call != DRAIN]
    assert done == [
        [*EXEC, "freeze"],
        [*EXEC, "thaw"],
        ["uncordon", "kind-worker"],
        ["scale", "deployment/reliq-worker", "--replicas=3"],
    ]
    assert recorded.calls[-2:] == [list(LIST), list(LIST)], "four were left first, and three are meant to stay"


def test_close_says_which_pods_do_not_end(
    recorded: RecordedKubectl, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded.says(["scale", "deployment/reliq-worker", "--replicas=3"])
    monkeypatch.setattr(driver, "LATE", -10.0)
    with pytest.raises(KubectlError, match=r"pods that do not end: .*: see `kubectl describe pod reliq-worker-\S+`"):
        make(*(pod("terminating", metadata={"uid": str(number)}) for number in range(4))).close()


# -- errors


def meant(argv: list[str]) -> list[str]:
    """A command line as it is given: the recordings abbreviate the program."""
    return [SOURCE.read_text() if word == "$INSIDE" else word for word in argv]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("no such deployment", r'deployments.apps "nope" not found: create it with `kubectl apply`'),
        ("scale of no such deployment", r'deployments.apps "nope" not found: create it with `kubectl apply`'),
        ("no such context", r'context "nope" does not exist: see `kubectl config get-contexts`'),
        ("forbidden", r"\(Forbidden\): pods is forbidden: .*: use an account whose role allows it"),
        ("scale forbidden", r"deployments.apps .* is forbidden: .*: use an account whose role allows it"),
        ("unauthorized", r"You must be logged in to the server \(Unauthorized\): log in to the cluster again"),
        ("unreachable", r"127.0.0.1:6443 was refused .*: see whether the cluster runs"),
        ("server in trouble", r"kubectl get: Error from server \(InternalError\): etcdserver: request timed out$"),
        ("drain of an unknown node", r'kubectl drain: Error from server \(NotFound\): nodes "kind-worker9" not found'),
        ("kill-main of process 1", r"^kubectl exec: the worker is process 1 .*: set shareProcessNamespace: true"),
        ("look without a worker", r"^kubectl exec: 0 processes run `reliq worker` here, and it takes exactly one$"),
    ],
)
def test_an_error_is_one_line_that_says_what_to_do(recorded: RecordedKubectl, name: str, text: str) -> None:
    recorded.knows(name)
    (answer,) = recorded.answers
    with pytest.raises(KubectlError, match=text) as caught:
        kubectl(recorded).run(*meant(answer["argv"]))
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, Gone)


@pytest.mark.parametrize("name", ["look in a pod that is gone", "look in a completed pod"])
def test_a_pod_that_is_gone_is_an_error_of_its_own(recorded: RecordedKubectl, name: str) -> None:
    recorded.knows(name)
    (answer,) = recorded.answers
    with pytest.raises(Gone):
        kubectl(recorded).run(*meant(answer["argv"]))


def test_an_error_inside_a_pod_goes_through(recorded: RecordedKubectl, make: Make) -> None:
    recorded.knows("look")
    recorded.knows("kill-main of process 1")
    one = only(make())
    with pytest.raises(KubectlError, match="set shareProcessNamespace: true in the pod template"):
        one.kill_main()
    assert one.running()


def test_no_kubectl_is_said_so(tmp_path: Path) -> None:
    missing = Kubectl(program=str(tmp_path / "kubectl"))
    for call in (lambda: missing.run("get"), lambda: missing.start("drain")):
        with pytest.raises(
            KubectlError, match=r"cannot run '.*kubectl' \(No such file or directory\): install kubectl"
        ):
            call()


def test_a_call_that_does_not_end_is_ended(recorded: RecordedKubectl) -> None:
    recorded.says(["get", "pods"], "{}", seconds=60)
    with pytest.raises(KubectlError, match=r"kubectl get did not end within 0.5 s: see whether `kubectl cluster-info`"):
        Kubectl(program=str(recorded.path), timeout=0.5).run("get", "pods")


@pytest.mark.parametrize("out", ["", "No resources found\n", "[]", "null", '{"items": '])
def test_what_is_no_json_object_is_said_so(recorded: RecordedKubectl, out: str) -> None:
    recorded.says(LIST, out)
    with pytest.raises(KubectlError, match="is it really kubectl"):
        kubectl(recorded).read(*LIST[:-2])


@pytest.mark.parametrize("change", [{"spec": {}}, {"spec": None}, {"spec": {"selector": {"matchLabels": 7}}}])
def test_a_deployment_that_cannot_be_read_is_said_so(recorded: RecordedKubectl, change: dict[str, Any]) -> None:
    recorded.finds({**objects()["deployment"], **change})
    with pytest.raises(KubectlError, match="a Deployment that cannot be read"):
        KubectlCluster(kubectl(recorded), "reliq-worker", lambda event: None)


def test_a_list_that_fails_for_a_while_is_borne(
    recorded: RecordedKubectl, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = make()
    recorded.knows("server in trouble")
    cluster.tick()
    assert [pod.replica for pod in cluster.pods()] == [READY]
    monkeypatch.setattr(driver, "PATIENCE", 0.0)
    with pytest.raises(KubectlError, match="etcdserver"):
        cluster.tick()


def test_at_the_beginning_nothing_is_borne(recorded: RecordedKubectl) -> None:
    recorded.finds()
    recorded.allows_all()
    recorded.knows("forbidden")
    with pytest.raises(KubectlError, match="forbidden"):
        KubectlCluster(kubectl(recorded), "reliq-worker", lambda event: None)


def test_the_recorded_kubectl_fails_on_what_it_does_not_know(tmp_path: Path) -> None:
    program = RecordedKubectl(tmp_path)
    with pytest.raises(KubectlError, match="nobody recorded"):
        kubectl(program).run("delete", "everything")
    assert program.unknown() == [["delete", "everything"]]
