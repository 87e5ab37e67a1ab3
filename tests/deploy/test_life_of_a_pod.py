"""The manifests' own commands and probes, through the local driver of chaos: updates, evictions, lost nodes.

`pytest tests/deploy/test_life_of_a_pod.py -n 0 --log-cli-level=INFO` prints how long things took.
"""

import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs
import pytest
import yaml

from chaos.pods.local import LocalCluster, LocalPod, Recipe, Replica
from chaos.pods.template import Template
from chaos.proxy import Proxy
from chaos.records import PodEvent
from chaos.servers import Server
from reliq import Reliq
from tests.contract.places import ROOT
from tests.support.ledger import VARIABLE, Event, Ledger, now

pytestmark = pytest.mark.timeout(180)  # the manifests' own patience, several times
_log = logging.getLogger(__name__)
WORKER = ROOT / "deploy" / "kubernetes" / "base" / "worker.yaml"
EVERY = 0.02
"""Seconds between two jobs of the load: what a producer of an ordinary service might do."""
QUEUES = ("critical", "default")


def deployment() -> Template:
    """What the manifest says."""
    (found,) = yaml.safe_load_all(WORKER.read_text(encoding="utf-8"))
    return Template.of(found)


def shorter(template: Template) -> Template:
    """The same with less patience: 1 s for the hook, 1 s for the jobs, then they are interrupted."""
    words = [word for word in template.worker if not word.startswith("--timeout=")]
    assert template.prestop[-2] == "--wait"
    return attrs.evolve(template, worker=(*words, "--timeout=1"), prestop=(*template.prestop[:-1], "1"))


class Namespace:
    """A Deployment in a namespace of its own: its pods, whoever enqueues, and what the jobs wrote down."""

    def __init__(self, server: Server, directory: Path, urls: Sequence[str], template: Template) -> None:
        self.server = server
        self.template = template
        (directory / "shop").mkdir()
        (directory / "shop" / "jobs.py").write_text("from tests.support.jobs import app as app\n", encoding="utf-8")
        self.ledger = Ledger(directory / "ledger")
        self.events: list[PodEvent] = []
        self.jids: list[str] = []
        self.pods: dict[str, LocalPod] = {}
        self.pids: dict[str, set[int]] = {}
        self.failed_probes: list[str] = []
        self._next = 0.0
        self._loads = False
        self._probe_at: dict[str, float] = {}
        self.app = Reliq(server.url)
        self.cluster = LocalCluster(
            [Replica(f"pod-{number}", url) for number, url in enumerate(urls, 1)],
            Recipe(
                directory=directory, collector="-", environment={VARIABLE: str(self.ledger.path)}, template=template
            ),
            note=self.events.append,
            struck=lambda *_: None,
            registered=frozenset,
            ended=lambda _: None,
            pause=lambda: 0.0,
        )

    # -- time passes

    def until(self, condition: Callable[[], object], why: str, within: float = 60.0) -> None:
        """Let the cluster and the load go on until this holds."""
        until = time.monotonic() + within
        while not condition():
            assert time.monotonic() < until, f"not within {within:g} s: {why}"
            self.cluster.tick()
            for pod in self.cluster.everything():
                self._watch(pod)
            if self._loads and now() >= self._next:
                self._next = now() + EVERY
                self.enqueue("slow", EVERY * (1 + len(self.jids) % 10))
            time.sleep(0.002)  # the pods share the processors with this loop

    def _watch(self, pod: LocalPod) -> None:
        self.pods[pod.name] = pod
        self.pids.setdefault(pod.name, set()).update(pod.children())
        if pod.is_ready and pod.running() and now() >= self._probe_at.get(pod.name, 0.0):
            self._probe_at[pod.name] = now() + 0.25
            status = self.template.liveness.ask(pod.port)
            # One that was told to stop closes its port a moment before it ends.
            if status not in (0, 200) or (status == 0 and pod.running() and "term" not in self.told(pod.name)):
                self.failed_probes.append(f"{pod.name}: {status}")

    def ready(self, count: int) -> list[LocalPod]:
        """Wait for so many pods that are ready and not going."""
        self.until(lambda: sum(pod.ready() for pod in self.cluster.pods()) >= count, f"{count} pods are ready")
        return [pod for pod in self.cluster.pods() if isinstance(pod, LocalPod) and pod.ready()]

    # -- jobs

    def enqueue(self, name: str, *args: object) -> str:
        """Enqueue a job of tests/support/jobs.py."""
        self.jids.append(self.app.enqueue(name, *args, queue=QUEUES[len(self.jids) % 2]))
        return self.jids[-1]

    def load(self, jobs: int) -> None:
        """Begin to enqueue, and let so many more jobs come in."""
        self._loads, seen = True, len(self.jids)
        self.until(lambda: len(self.jids) >= seen + jobs, "jobs come in")

    def all_done(self) -> None:
        """End the load, and wait for every job."""
        self._loads = False
        self.until(lambda: self.ledger.done(self.jids), "all jobs finish")

    # -- what happened

    def told(self, pod: str) -> list[str]:
        """What was noted of a pod, in order."""
        return [event.what for event in self.events if event.pod == pod and event.what != "members"]

    def at(self, pod: str, what: str) -> float:
        """When it was noted."""
        (event,) = [event for event in self.events if event.pod == pod and event.what == what]
        return event.at

    def runs(self, pod: str) -> list[Event]:
        """What jobs wrote in this pod's processes."""
        return [event for event in self.ledger.events() if event.pid in self.pids[pod]]

    def cost_nothing(self, replaced: list[str]) -> None:
        """Every job has run once, none has failed; these pods were ended in order, and before that none was at work."""
        assert len(self.ledger.events("start")) == len(self.ledger.events("finish")) == len(self.jids)
        assert not self.ledger.repeated()
        with self.server.client() as redis:
            assert redis.get("stat:failed") is None
            assert not redis.exists("retry", "dead", "queue:critical", "queue:default")
        assert self.failed_probes == []
        for pod in replaced:
            assert self.told(pod) == ["start", "ready", "prestop", "term", "end"], pod
            assert self.pods[pod].exit_code() == 0
            assert all(event.at <= self.at(pod, "term") for event in self.runs(pod)), "the hook waited for its jobs"
            assert self.runs(pod), "it has worked"

    def back_to(self, replicas: int) -> None:
        """Wait until as many pods as before are ready, and those that were to go have gone."""
        self.ready(replicas)
        self.until(lambda: len(self.cluster.everything()) == replicas, "the old pods have gone")

    def close(self) -> None:
        self.cluster.close()
        self.app.close()


@pytest.fixture
def namespace(server: Server) -> Iterator[Callable[..., Namespace]]:
    """Makes the one namespace of a test."""
    made: list[Namespace] = []
    directory = Path(tempfile.mkdtemp(prefix="reliq-", dir="/tmp"))  # short: unix sockets lie in it

    def make(*urls: str, template: Template | None = None) -> Namespace:
        made.append(Namespace(server, directory, urls or (server.url, server.url), template or deployment()))
        return made[-1]

    yield make
    for one in made:
        one.close()
    shutil.rmtree(directory, ignore_errors=True)


def test_a_rolling_update_under_load_costs_nothing(namespace: Callable[..., Namespace]) -> None:
    one = namespace()
    old = [pod.name for pod in one.ready(2)]
    one.load(jobs=100)
    began, before = now(), len(one.jids)
    one.cluster.rollout_restart()
    one.until(lambda: not one.cluster.rolling(), "every pod is replaced")
    one.back_to(2)
    took, during = now() - began, len(one.jids) - before
    one.all_done()
    _log.info("rolling update of 2 pods in %.1f s, %d of %d jobs came in meanwhile", took, during, len(one.jids))
    one.cost_nothing(replaced=old)
    for number, name in enumerate(old, 1):
        assert one.at(f"pod-{number}-2", "ready") <= one.at(name, "prestop"), "maxUnavailable is 0"


def test_an_eviction_under_load_costs_nothing(namespace: Callable[..., Namespace]) -> None:
    one = namespace()
    gone, _ = one.ready(2)
    one.load(jobs=100)
    one.cluster.drain(gone)
    one.until(gone.gone, "it goes")
    one.back_to(2)
    one.all_done()
    one.cost_nothing(replaced=[gone.name])


def test_what_outlasts_hook_and_timeout_runs_again_elsewhere(namespace: Callable[..., Namespace]) -> None:
    one = namespace(template=shorter(deployment()))
    pods = one.ready(2)
    jid = one.enqueue("slow", 6.0)
    one.until(lambda: one.ledger.started(jid), "it runs")
    (pod,) = [pod for pod in pods if pod.members() and one.ledger.started(jid)[0].pid in pod.children()]
    pod.delete(one.cluster.grace)
    one.until(pod.gone, "the pod goes")
    one.all_done()
    assert one.told(pod.name) == ["start", "ready", "prestop", "term", "end"]
    assert pod.exit_code() == 0
    assert [event.what for event in one.ledger.events(jid=jid)] == ["start", "interrupted", "start", "finish"]
    (interrupted,) = one.ledger.events("interrupted")
    assert one.at(pod.name, "term") + 1.0 <= interrupted.at, "--timeout was waited for"
    with one.server.client() as redis:
        assert redis.get("stat:failed") is None, "nothing is counted against the job"


def test_a_grace_period_that_is_too_short_loses_nothing(namespace: Callable[..., Namespace]) -> None:
    one = namespace()
    pod, _ = one.ready(2)
    one.load(jobs=50)
    jids = [one.enqueue("slow", 3.0) for _ in range(30)]  # more than one pod has threads
    one.until(lambda: any(event.name == "slow" and event.jid in jids for event in one.runs(pod.name)), "it has some")
    pod.delete(0.5)
    one.until(pod.gone, "it is killed")
    one.back_to(2)
    one.all_done()
    assert one.told(pod.name)[-1] == "end"
    assert "kill" in one.told(pod.name)
    killed = one.pids[pod.name]
    assert one.ledger.unexplained(lambda event: event.pid in killed) == []
    assert one.failed_probes == []


@pytest.mark.slow
def test_a_node_without_power_costs_its_own_runs_only(namespace: Callable[..., Namespace], server: Server) -> None:
    """Nothing is closed: to Redis its connections look open. Whoever is left finds out by the missing heartbeat."""
    with Proxy(server.socket) as cable:
        one = namespace(server.url, cable.url)
        one.ready(2)
        (lost,) = [pod for pod in one.cluster.pods() if isinstance(pod, LocalPod) and pod.replica == "pod-2"]
        one.load(jobs=100)
        for _ in range(30):  # more than the other pod has threads
            one.enqueue("slow", 3.0)
        one.until(lambda: any(event.pid in lost.children() for event in one.ledger.running()), "it has some of them")
        one.cluster.replicas[1].wanted = False
        cable.freeze()
        pids = set(lost.kill_all())
        died = now()
        began = {event.jid for event in one.ledger.running() if event.pid in pids}
        assert began, "it had jobs"
        one.until(lambda: one.ledger.done(began), "its jobs run again")
        back = max(one.ledger.finished(jid)[0].at for jid in began) - died
        one.all_done()
        _log.info("%d jobs of the lost node had run again %.1f s after it died", len(began), back)
        assert set(one.ledger.repeated()) == began
        assert one.failed_probes == []
        with server.client() as redis:
            assert redis.get("stat:failed") is None


def test_readiness_follows_the_pod_s_life(namespace: Callable[..., Namespace]) -> None:
    one = namespace()
    pod, _ = one.ready(2)
    template = deployment()
    assert template.readiness.passes(pod.port)
    assert template.liveness.passes(pod.port)
    jid = one.enqueue("gated", "end")
    one.until(lambda: one.ledger.started(jid), "it runs")
    (busy,) = [pod for pod in one.ready(2) if one.ledger.started(jid)[0].pid in pod.children()]
    busy.delete(60.0)
    one.until(lambda: template.readiness.ask(busy.port) == 503, "a pod that is going is not ready")
    assert template.liveness.passes(busy.port), "and lives: nothing may cut its jobs short"
    Path(one.ledger.path.parent, "gate-end").touch()
    one.until(busy.gone, "it goes")
    one.all_done()
