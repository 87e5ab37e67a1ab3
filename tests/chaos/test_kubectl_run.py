"""A run on a cluster: what the command line takes, which faults are left for it, and a whole run on a stand-in."""

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner

from chaos.cli import cli, without
from chaos.conductor import Options, Run
from chaos.faults import ALL, Fault
from chaos.ledger import Ledger
from chaos.oracle import judge
from chaos.pods.base import Verb
from chaos.pods.local import LocalCluster
from chaos.records import PodEvent, now
from chaos.scenarios import SCENARIOS, Scenario, left_out
from chaos.servers import Server, free_port
from chaos.sites.base import Hooks, StageError
from chaos.sites.kubectl import ClusterSite, Kubernetes
from chaos.sites.local import LocalSite
from chaos.sites.manifest import sizes
from chaos.stage import Stage
from tests.chaos.apiserver import ApiServer
from tests.chaos.container import why_not
from tests.chaos.kubelet import Kubelet
from tests.chaos.recorded import RecordedKubectl, objects, pod

CLUSTER: frozenset[str] = frozenset(f"the verb {verb}" for verb in LocalCluster.verbs)
FAR = ["--driver", "kubectl", "--deployment", "reliq-worker", "--collector", "127.0.0.1:7070"]
READY = "reliq-worker-7c9f8d6b5d-8hj7w"


def run(*words: str) -> tuple[int, str]:
    """What `python -m chaos run` answers."""
    done = CliRunner().invoke(cli, ["run", *words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordedKubectl]:
    """A recorded kubectl on PATH, whose cluster has the Deployment and one ready pod, and allows everything."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = RecordedKubectl(folder)
    program.finds()
    program.allows_all()
    program.lists(pod("ready"))
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    yield program
    assert not program.unknown()


# -- the command line


class TestTheCommandLine:
    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--driver", "kubectl"], "--driver kubectl needs --deployment and --url and --collector"),
            ([*FAR], "--driver kubectl needs --url"),
            ([*FAR[:4], "--url", "redis://h"], "--driver kubectl needs --collector"),
            ([*FAR[:2], *FAR[4:], "--url", "redis://h"], "--driver kubectl needs --deployment"),
            (["--deployment", "x"], "--deployment is for --driver kubectl only"),
            (["--driver", "local", "--url", "redis://h"], "--url is for --driver kubectl only"),
            (["--collector", "h:1"], "--collector is for --driver kubectl only"),
            (["--kube-context", "x"], "--kube-context is for --driver kubectl only"),
            (["--kube-namespace", "x"], "--kube-namespace is for --driver kubectl only"),
            (["--driver", "docker"], "'docker' is not one of 'local', 'kubectl'"),
            ([*FAR, "--url", "http://h"], "Redis URL must specify one of the following schemes"),
        ],
    )
    def test_one_clear_error_for_each_mistake(self, words: list[str], said: str) -> None:
        code, output = run("kills", *words)
        assert code == 2
        assert said in output
        assert output.count("Error: ") == 1

    @pytest.mark.parametrize("value", ["7070", ":7070", "host:", "host:x", "host:0", "host:65536"])
    def test_the_collector_is_host_and_port(self, value: str) -> None:
        code, output = run("kills", "--driver", "kubectl", "--collector", value)
        assert code == 2
        assert f"'{value}' is not HOST:PORT" in output

    def test_no_kubectl_is_one_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        code, output = run("kills", *FAR, "--url", "redis://h", "--directory", str(tmp_path / "run"))
        assert code == 1
        assert output.splitlines()[-1].startswith("Error: cannot run 'kubectl'")

    @pytest.mark.usefixtures("recorded")
    def test_a_scenario_of_which_nothing_can_be_done_is_refused(self, tmp_path: Path) -> None:
        code, output = run("network", *FAR, "--url", "redis://h", "--directory", str(tmp_path / "run"))
        assert code == 1
        assert output.splitlines()[-1] == (
            "Error: network cannot be played there: all its faults need what is missing (a proxy before each pod)"
        )
        assert not list((tmp_path / "run").iterdir()), "the directory can be used again"

    @pytest.mark.usefixtures("recorded")
    def test_what_is_left_out_is_said_in_one_line(self, tmp_path: Path) -> None:
        words = ["everysec", *FAR, "--url", "redis://127.0.0.1:1", "--directory", str(tmp_path / "run")]
        _, output = run(*words)
        assert "left out: redis-restart (a Redis of its own)" in output.splitlines()

    @pytest.mark.usefixtures("recorded")
    def test_no_redis_is_one_line_without_its_password(self, tmp_path: Path) -> None:
        words = ["everysec", *FAR, "--url", "redis://:secret@127.0.0.1:1", "--directory", str(tmp_path / "run")]
        code, output = run(*words)
        assert code == 1
        assert output.splitlines()[-1].startswith("Error: no Redis answers at redis://127.0.0.1:1: ")
        assert "secret" not in output

    @pytest.mark.usefixtures("recorded")
    def test_a_redis_that_is_not_empty_is_refused(self, tmp_path: Path, server: Server) -> None:
        with server.client() as client:
            client.set("stat:processed", 7)
        code, output = run("everysec", *FAR, "--url", server.url, "--directory", str(tmp_path / "run"))
        assert code == 1
        assert "holds 1 keys, and a run needs an empty one" in output.splitlines()[-1]

    @pytest.mark.usefixtures("recorded")
    def test_an_address_that_is_not_ours_is_refused(self, tmp_path: Path, server: Server) -> None:
        words = [*FAR[:-1], "192.0.2.1:7070", "--url", server.url, "--directory", str(tmp_path / "run")]
        code, output = run("everysec", *words)
        assert code == 1
        assert "the collector cannot listen at 192.0.2.1:7070" in output.splitlines()[-1]

    def test_a_run_of_a_cluster_is_not_replayed(self, tmp_path: Path) -> None:
        book: dict[str, Any] = {"scenario": "kills", "seed": 1, "minutes": 1.0, "jobs": 1, "pods": 1, "armed": ()}
        book |= {"processes": 1, "concurrency": 1, "beat": 1.0, "ttl": 1.0, "confirm": 1.0, "crash_limit": 3}
        book |= {"durability": "always", "client_list": True, "revision": "0", "driver": "kubectl"}
        with Ledger(tmp_path / "ledger.sqlite") as ledger:
            ledger.say("settings", book)
        done = CliRunner().invoke(cli, ["replay", str(tmp_path)])
        assert done.exit_code == 1
        assert "that run was on a cluster" in done.output


# -- the faults


class TestTheFaults:
    def test_a_cluster_can_do_what_needs_nothing_but_its_verbs(self) -> None:
        assert {name for name, fault in ALL.items() if fault.needs <= CLUSTER} == {
            *("kill-child", "kill-children", "kill-pod", "kill-main", "kill-all-pods", "freeze-pod", "freeze-briefly"),
            *("delete-pod", "delete-hastily", "scale-down", "rollout", "drain"),
        }

    def test_this_machine_can_do_everything(self, tmp_path: Path) -> None:
        for scenario in SCENARIOS.values():
            assert left_out(scenario, LocalSite(scenario, 1, tmp_path, tmp_path).offers) == {}

    @pytest.mark.parametrize("verb", sorted(LocalCluster.verbs - {"delete-now"}))
    def test_an_account_that_may_not_do_something_cannot_play_it(self, verb: Verb) -> None:
        offers = CLUSTER - {f"the verb {verb}"}
        lacks = left_out(SCENARIOS["everything"], offers)
        lost = {name for name, missing in lacks.items() if missing == {f"the verb {verb}"}}
        assert lost == {name for name in SCENARIOS["everything"].faults if ALL[name].needs & {f"the verb {verb}"}} - {
            name for name in lacks if ALL[name].needs - CLUSTER
        }
        assert lost

    def test_only_a_redis_of_our_own_refuses_client(self) -> None:
        assert left_out(SCENARIOS["ttl"], CLUSTER).keys() == SCENARIOS["ttl"].faults.keys()

    def test_they_are_named_by_what_they_lack(self) -> None:
        lacks = {name: frozenset({thing}) for name, thing in (("a", "x"), ("b", "y"), ("c", "x"))}
        assert without(lacks) == "left out: a, c (x); b (y)"
        assert without({}) == ""


# -- what a cluster says of itself


def deployment(**numbers: object) -> dict[str, Any]:
    """The Deployment, its worker with other numbers on its command line."""
    found: dict[str, Any] = copy.deepcopy(objects()["deployment"])
    (container,) = found["spec"]["template"]["spec"]["containers"]
    names = {name.replace("_", "-"): value for name, value in numbers.items()}
    kept = [word for word in container["args"] if word.partition("=")[0].removeprefix("--") not in names]
    container["args"] = [*kept, *(f"--{name}={value}" for name, value in names.items() if value is not None)]
    return found


def worker(**numbers: object) -> dict[str, Any]:
    """The container of that."""
    containers: list[dict[str, Any]] = deployment(**numbers)["spec"]["template"]["spec"]["containers"]
    return containers[0]


class TestTheManifest:
    def test_its_numbers_are_what_the_run_is_judged_by(self) -> None:
        found = sizes(worker(processes=3, ttl=5))
        assert (found.processes, found.concurrency, found.beat, found.ttl) == (3, 8, 0.4, 5.0)
        assert found.confirm == pytest.approx(2.4)
        assert found.stop == 5.0

    def test_they_may_be_words_of_their_own_or_in_the_environment(self) -> None:
        container = worker(concurrency=None, timeout=None, beat=None, ttl=None)
        container["args"] += ["-c", "5", "--ttl", "7", "-t", "9"]
        container["env"] += [{"name": "RELIQ_BEAT", "value": "0.5"}, {"name": "RELIQ_CONFIRM", "value": "6"}]
        found = sizes(container)
        assert (found.concurrency, found.ttl, found.stop, found.beat, found.confirm) == (5, 7.0, 10.0, 0.5, 6.0)

    def test_the_command_line_comes_first(self) -> None:
        container = worker()
        container["env"].append({"name": "RELIQ_TTL", "value": "99"})
        assert sizes(container).ttl == 2.4

    @pytest.mark.parametrize("name", ["processes", "concurrency", "beat", "ttl", "timeout"])
    def test_a_number_that_it_does_not_say_is_asked_for(self, name: str) -> None:
        with pytest.raises(StageError, match=f"neither --{name} nor RELIQ_{name.upper()}: .* write it there"):
            sizes(worker(**{name: None}))

    def test_a_number_from_a_secret_is_not_known(self) -> None:
        container = worker(ttl=None)
        container["env"].append({"name": "RELIQ_TTL", "valueFrom": {"secretKeyRef": {}}})
        with pytest.raises(StageError, match="neither --ttl nor RELIQ_TTL"):
            sizes(container)

    def test_what_is_no_number_is_said_so(self) -> None:
        with pytest.raises(StageError, match="the Deployment's ttl is 'ten', which is no number"):
            sizes(worker(ttl="ten"))


Heard = list[tuple[str, Any]]


@pytest.fixture
def heard() -> Heard:
    """What a site told of its pods."""
    return []


@pytest.fixture
def site(recorded: RecordedKubectl, server: Server, heard: Heard) -> ClusterSite:
    """A site that is open."""
    made = ClusterSite(Kubernetes(deployment="reliq-worker", url=server.url, collector=("127.0.0.1", 0)), every=0.0)
    made.open(
        Hooks(
            note=lambda event: heard.append(("note", event)),
            struck=lambda *what: heard.append(("struck", what)),
            ended=lambda pids, host: heard.append(("ended", (pids, host))),
            heard=tuple,
            pause=lambda: 0.0,
        )
    )
    return made


class TestTheSite:
    @pytest.mark.usefixtures("site")
    def test_what_was_seen_before_the_run_began_is_noted(self, heard: Heard) -> None:
        assert [(what, event.what) for what, event in heard] == [("note", "start"), ("note", "ready")]

    def test_the_end_of_a_pod_is_that_of_all_its_processes(
        self, site: ClusterSite, recorded: RecordedKubectl, heard: Heard
    ) -> None:
        recorded.lists()
        site.cluster.tick()
        assert heard[-1] == ("ended", (None, READY))
        assert isinstance(heard[-2][1], PodEvent)

    def test_a_death_that_nobody_armed_is_told(
        self, site: ClusterSite, recorded: RecordedKubectl, heard: Heard
    ) -> None:
        killed = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
        recorded.lists(pod("ready", state=killed))
        site.cluster.tick()
        assert [what[:2] for kind, what in heard if kind == "struck"] == [("oom-killed", READY)]

    def test_redis_says_what_it_is(self, site: ClusterSite) -> None:
        assert site.version().endswith(", on a cluster")
        assert "unknown" not in site.version()

    @pytest.mark.parametrize(("off", "fine"), [(0.0, True), (-60.0, False), (3600.0, False)])
    def test_the_clocks_of_pods_have_to_be_ours(
        self, site: ClusterSite, recorded: RecordedKubectl, off: float, fine: bool
    ) -> None:
        # The recorded answer is as old as the program needs to say it.
        words = ["exec", READY, "-c", "worker", "--", "python3", "-c", "import time; print(time.monotonic())"]
        recorded.says(words, f"{now() + 0.3 + off}\n")
        if fine:
            site.check()
        else:
            with pytest.raises(StageError, match=r"clock of pod .* is [\d,.]+ s off this machine's: its node has to"):
                site.check()

    def test_nothing_can_be_measured_there(self, site: ClusterSite) -> None:
        meter = site.meter(None)  # type: ignore[arg-type]
        meter.before()
        meter.resting()
        meter.after()
        assert [meter.idle, meter.descriptors, meter.connections, meter.processes] == [None] * 4


# -- a whole run


BY_HAND = Scenario(
    name="by hand",
    what="everything that the stand-in can do",
    faults={"kill-child": 2, "kill-main": 1, "kill-pod": 1, "freeze-pod": 1, "delete-frozen": 1, "cut": 3},
    workload={"work": 6, "long": 2, "quick": 2, "late-fence": 2, "coroutine": 1, "foreign": 1, "killer": 0.1},
    rate=12.0,
    gap=0.8,
    pods=3,
    drain_within=60.0,
)


def delete_frozen(stage: Stage) -> bool:
    """Take away a pod that stands still: it is killed, and nobody says so."""
    frozen = stage.busy(spare=1)
    if frozen is None or not frozen.freeze():
        return False
    frozen.delete(1.0)
    stage.log("delete-frozen", frozen.name, "none")
    return True


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    """A stand-in for the API server, with an empty Deployment."""
    found = deployment(processes=1, concurrency=4, timeout=2)
    found["spec"]["replicas"] = 0
    with ApiServer(found, [], ["kind-worker"]) as api:
        (tmp_path / "config").write_text(api.kubeconfig("standin"))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        monkeypatch.setenv("KUBECACHEDIR", str(tmp_path / "cache"))
        yield api


@pytest.fixture
def played(
    cluster: ApiServer, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, ApiServer]:
    """The ledger of a run, and the cluster that it leaves. kubectl, the workers, their deaths and Redis are real."""
    needs: frozenset[Verb] = frozenset({"freeze", "delete"})
    monkeypatch.setitem(ALL, "delete-frozen", Fault("delete-frozen", delete_frozen, needs))
    where = Kubernetes(
        deployment="reliq-worker",
        url=server.url,
        collector=("127.0.0.1", free_port()),
        context="standin",
        namespace="reliq-chaos",
    )
    (tmp_path / "run").mkdir()
    with Kubelet(cluster, server.url, ":".join(map(str, where.collector))):
        site = ClusterSite(where, every=0.3)
        with Run(BY_HAND, Options(seed=11, minutes=0.15), tmp_path / "run", site=site) as one:
            one.play()
    return tmp_path / "run" / "ledger.sqlite", cluster


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_a_whole_run(played: tuple[Path, ApiServer]) -> None:
    path, cluster = played
    assert cluster.deployment["spec"]["replicas"] == 0, "as it was found"
    with Ledger(path, read_only=True) as ledger:
        verdict = judge(ledger)
        faults, events, settings, runs = ledger.faults(), ledger.pod_events(), ledger.settings(), ledger.runs()
        final = ledger.final()
    story = json.dumps([verdict.counts, verdict.void, [str(finding) for finding in verdict.findings]], indent=1)
    assert verdict.ok, story
    assert (settings.driver, settings.processes, settings.concurrency, settings.stop) == ("kubectl", 1, 4, 3.0)
    assert set(settings.armed) == BY_HAND.faults.keys() - {"cut"}
    assert set(settings.armed) <= {fault.name for fault in faults if fault.in_flight}
    assert "cut" not in {fault.name for fault in faults}
    assert final is not None
    assert (final.descriptors, final.processes, final.connections, final.idle) == (None,) * 4

    assert len({run.host for run in runs}) > BY_HAND.pods
    assert len({run.pid for run in runs}) < len({run.identity for run in runs}), "ids are the same in several pods"
    assert any(event.pod.count("-") > 3 for event in events), "a container was started again"

    over = {fault.target: fault for fault in faults if fault.name == "grace-over"}
    killed = {event.pod: event.at for event in events if event.what == "kill"}
    assert over.keys() == killed.keys() >= {fault.target for fault in faults if fault.name == "delete-frozen"}
    for name, fault in over.items():
        (seen_gone,) = (event.at for event in events if event.pod == name and event.what == "end")
        assert fault.harm == "dead"
        assert fault.at <= killed[name] <= seen_gone <= (fault.ended_at or 0.0)

    blame_others(path)
    with Ledger(path, read_only=True) as ledger:
        assert not judge(ledger).ok, "deaths of other pods with the same process ids explain nothing"


def blame_others(path: Path) -> None:
    """Change a ledger: each fault struck the pod after the one that it did strike."""
    with Ledger(path) as ledger:
        pods = list(dict.fromkeys(event.pod for event in ledger.pod_events()))
        after = dict(zip(pods, [*pods[1:], *pods[:1]], strict=True))
        ledger.write([("delete from pods where what = 'kill'", ())])
        for fault in ledger.faults():
            ledger.add_fault(attrs.evolve(fault, target=after.get(fault.target, fault.target)))
