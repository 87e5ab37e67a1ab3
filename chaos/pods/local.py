"""Pods on this machine: each a `reliq worker` in a process group of its own, treated as by a kubelet.

Only the thread that made the cluster may call it: the kernel ends the pods when that thread ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import attrs

from chaos.pods import group
from chaos.pods.base import Note, Pod, Struck, Verb
from chaos.pods.cgroup import MemoryLimit, memory_limit
from chaos.pods.template import Template
from chaos.records import PodEvent, now
from chaos.servers import free_port

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = Path(__file__).with_name("launch.py")
CLOCKWORK = Path(__file__).with_name("clockwork")
"""Holds a sitecustomize module: a pod's wall clock can be set wrong while it runs."""


@attrs.define
class Replica:
    """One place of the Deployment, with a way of its own to Redis. What is set here holds from its next pod on."""

    name: str
    url: str
    version: str = "new"
    """The version of the application, as chaos.jobs knows them, and of reliq, if the recipe has an old one."""
    log_full: bool = False
    """Whether its log goes to a disk that is full."""
    wanted: bool = True
    pod: LocalPod | None = None
    start_at: float = 0.0
    count: int = 0


@attrs.frozen(kw_only=True)
class Recipe:
    """How pods are started. Times are seconds."""

    directory: Path
    collector: str
    environment: dict[str, str]
    processes: int = 2
    concurrency: int = 8
    queues: tuple[str, ...] = ("critical", "default")
    timeout: float = 3.0
    """That jobs have to finish on stop."""
    grace: float = 1.0
    """That interrupted jobs have to unwind."""
    memory: int | None = None
    """Bytes that one pod may use; None: no limit."""
    app: str = "chaos.jobs:app"
    code: Path = ROOT
    """The tree whose reliq the pods run."""
    old: Path | None = None
    """The tree whose reliq pods of the old version run; None: the same as all."""
    template: Template | None = None
    """What a manifest says; then commands, readiness and the grace period are as written there."""

    @property
    def termination(self) -> float:
        """The pod's grace period: long enough for a stop in order."""
        return self.timeout + self.grace + 4.0 if self.template is None else self.template.grace


class LocalPod:
    """One start of a replica. Implements Pod."""

    def __init__(self, replica: Replica, recipe: Recipe, note: Note) -> None:
        self.replica = replica.name
        self.host = ""
        self.name = f"{replica.name}-{replica.count}"
        self.recipe = recipe
        self._note = note
        self.pidfile = recipe.directory / f"{self.name}.pid"
        self.port = free_port() if recipe.template else 0
        self.clock = recipe.directory / f"{replica.name}.clock"
        self.environment = self._environment(replica)
        self.limit: MemoryLimit | None = memory_limit(recipe.memory) if recipe.memory else None
        self.process = subprocess.Popen(
            self._command(replica),
            cwd=recipe.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._helpers: set[int] = set()
        self._members: tuple[int, ...] = (self.process.pid,)
        self._children: tuple[int, ...] = ()
        self.began = now()
        self.is_ready = False
        self.ended = False
        self.deletion: Deletion | None = None
        self.frozen = False
        note(PodEvent(pod=self.name, what="start", at=self.began, detail={"replica": replica.name}))

    def _command(self, replica: Replica) -> list[str]:
        recipe = self.recipe
        log = "/dev/full" if replica.log_full else str(recipe.directory / f"{self.name}.log")
        launch = [sys.executable, "-IS", str(LAUNCH), "--log", log]
        launch += ["--cgroup", str(self.limit.procs)] if self.limit else []
        return [*launch, "--", sys.executable, "-m", "reliq", *self._words(replica)]

    def _words(self, replica: Replica) -> list[str]:
        recipe = self.recipe
        if recipe.template is not None:
            # A pod has an address of its own, and a Secret; here it gets a port, and the URL by its environment.
            return [*recipe.template.worker, f"--http=127.0.0.1:{self.port}"]
        words = ["worker", "--superfetch", "-A", recipe.app, "--url", replica.url, "--pidfile", str(self.pidfile)]
        words += ["-c", str(recipe.concurrency), "--processes", str(recipe.processes), "-t", str(recipe.timeout)]
        return [*words, *(word for queue in recipe.queues for word in ("-q", queue))]

    def _environment(self, replica: Replica) -> dict[str, str]:
        code = (self.recipe.old if replica.version == "old" else None) or self.recipe.code
        own = {name: value for name, value in os.environ.items() if not name.startswith(("RELIQ_", "CHAOS_"))}
        if self.recipe.template is None:
            own["RELIQ_GRACE"] = str(self.recipe.grace)
        else:
            # Its /tmp: there `reliq quiet` finds the pid file. Short, since a unix socket lies in it.
            own |= {**self.recipe.template.environment, "RELIQ_URL": replica.url, "TMPDIR": self._own_tmp()}
        return {
            **own,
            **self.recipe.environment,
            "CHAOS_COLLECTOR": self.recipe.collector,
            "CHAOS_CODE": replica.version,
            "CHAOS_CLOCK": str(self.clock),
            "PYTHONPATH": os.pathsep.join(map(str, (CLOCKWORK, code, ROOT))),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def _own_tmp(self) -> str:
        path = self.recipe.directory / self.name
        path.mkdir()
        return str(path)

    # -- looking

    def running(self) -> bool:
        """Whether the supervisor lives."""
        return self.process.poll() is None

    def ready(self) -> bool:
        """Whether its workers have registered, or its probe says so, and it is not being taken away."""
        return self.is_ready and self.deletion is None and self.running()

    def has_come_up(self, registered: frozenset[int]) -> bool:
        """Whether it is ready for the first time: by its startup probe, or when all its processes are among these."""
        template = self.recipe.template
        if template is not None:
            return template.startup.passes(self.port)
        return sum(pid in registered for pid in self._members) >= self.recipe.processes

    def exit_code(self) -> int | None:
        """How the supervisor ended."""
        return self.process.poll()

    def members(self) -> tuple[int, ...]:
        """All its processes, as of now."""
        self.look(group.by_group())
        return self._members

    def children(self) -> tuple[int, ...]:
        """Its worker processes, as of now."""
        self.look(group.by_group())
        return self._children

    def look(self, groups: dict[int, list[group.Process]]) -> None:
        """Take note of its processes; tell when they have changed."""
        mine = groups.get(self.process.pid, [])
        main = self.process.pid
        self._helpers |= {process.pid for process in mine if process.parent == main}
        members = tuple(sorted(process.pid for process in mine))
        children = tuple(pid for pid in members if pid != main and pid not in self._helpers)
        if (members, children) != (self._members, self._children):
            self._members, self._children = members, children
            detail = {"pids": members, "children": children, "main": main}
            self._note(PodEvent(pod=self.name, what="members", at=now(), detail=detail))

    def gone(self) -> bool:
        """Whether nothing of it lives, as of the last look."""
        return not self.running() and not self._members

    # -- doing

    def kill_all(self) -> tuple[int, ...]:
        """SIGKILL the whole group."""
        return group.kill(self.members(), group=self.process.pid)

    def kill_main(self) -> tuple[int, ...]:
        """SIGKILL the supervisor."""
        self.look(group.by_group())  # who the helpers are shows only while their parent lives
        return group.kill((self.process.pid,)) if self.running() else ()

    def kill_child(self, index: int) -> tuple[int, ...]:
        """SIGKILL one worker process."""
        children = self.children()
        return group.kill((children[index % len(children)],)) if children else ()

    def delete(self, grace: float) -> None:
        """Begin to take it away."""
        if self.deletion is None:
            self.deletion = Deletion(self, now() + grace, self._note)

    def hurry(self) -> None:
        """SIGTERM; the second one interrupts its jobs at once."""
        if self.running():
            self._note(PodEvent(pod=self.name, what="term", at=now()))
            self.process.terminate()

    def freeze(self) -> tuple[int, ...]:
        """SIGSTOP to all."""
        self.frozen = True
        return group.send(self.members(), signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT to all."""
        self.frozen = False
        group.send(self.members(), signal.SIGCONT)

    def signal(self, pids: tuple[int, ...], *, freeze: bool) -> None:
        """SIGSTOP or SIGCONT to some of its processes."""
        group.send(pids, signal.SIGSTOP if freeze else signal.SIGCONT)

    def quiet_command(self) -> list[str]:
        """The preStop hook."""
        if self.recipe.template is not None:
            return [sys.executable, "-m", "reliq", *self.recipe.template.prestop]
        return [sys.executable, "-m", "reliq", "quiet", "--pidfile", str(self.pidfile), "--wait", "1"]


class Deletion:
    """What a kubelet does to end a pod: preStop, SIGTERM, and SIGKILL at the end of the grace period."""

    def __init__(self, pod: LocalPod, kill_at: float, note: Note) -> None:
        self._pod = pod
        self._note = note
        self._kill_at = kill_at
        self._told = False
        self.killed = False
        note(PodEvent(pod=pod.name, what="prestop", at=now()))
        self._hook = subprocess.Popen(
            pod.quiet_command(),
            cwd=pod.recipe.directory,
            env={**pod.environment, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def go_on(self) -> tuple[int, ...]:
        """Take the next step if it is due; return the processes that the end of the grace period killed."""
        pod = self._pod
        over = now() >= self._kill_at
        if not self._told and (over or self._hook.poll() is not None):
            self._told = True
            self._note(PodEvent(pod=pod.name, what="term", at=now()))
            if pod.running():
                pod.process.terminate()
        if over and not self.killed and not pod.gone():
            self.killed = True
            self._note(PodEvent(pod=pod.name, what="kill", at=now()))
            return pod.kill_all()
        return ()

    def close(self) -> None:
        """Do not leave the hook behind."""
        if self._hook.poll() is None:
            self._hook.kill()
        self._hook.wait()


class LocalCluster:
    """Keeps one pod in each replica that is wanted. Implements Cluster."""

    verbs: frozenset[Verb] = frozenset(
        {"kill-all", "kill-main", "kill-child", "delete", "delete-now", "freeze", "scale", "restart", "drain"}
    )

    def __init__(
        self,
        replicas: list[Replica],
        recipe: Recipe,
        *,
        note: Note,
        struck: Struck,
        registered: Callable[[], frozenset[int]],
        ended: Callable[[Iterable[int]], None],
        heard: Callable[[], Iterable[int]] = tuple,
        pause: Callable[[], float],
    ) -> None:
        """`ended` is told of dead processes; `heard` gives those from whose jobs something was heard.

        They may be born and die between two ticks. `pause` says how many seconds a dead pod's replica stays empty.
        """
        self.replicas = replicas
        self._recipe = recipe
        self._note = note
        self._struck = struck
        self._registered = registered
        self._ended = ended
        self._heard = heard
        self._pause = pause
        self._leaving: list[LocalPod] = []
        self._rollout: list[Replica] = []
        self._surge: tuple[Replica, LocalPod, LocalPod] | None = None
        self._known: dict[str, frozenset[int]] = {}
        self._groups: set[int] = set()

    @property
    def grace(self) -> float:
        """The pods' grace period."""
        return self._recipe.termination

    def pods(self) -> list[Pod]:
        """The pods that run."""
        return [replica.pod for replica in self.replicas if replica.pod is not None and replica.pod.running()]

    def everything(self) -> list[LocalPod]:
        """All pods of which something lives, also those that are going."""
        return [pod for pod in self._all() if not pod.gone()]

    def leftovers(self) -> list[int]:
        """Processes of any pod that ever was, and that still live."""
        return [process.pid for process in group.processes() if process.group in self._groups]

    def mains(self) -> dict[str, int]:
        """Each pod's name and main process, also of those that are going; from any thread."""
        return {pod.name: pod.process.pid for pod in self._all()}

    def replica_of(self, pod: Pod) -> Replica:
        """The replica that a pod is a start of."""
        return next(replica for replica in self.replicas if replica.name == pod.replica)

    def tick(self) -> None:
        """Keep what is wanted alive."""
        groups = group.by_group()
        registered = self._registered()
        for pod in self._all():
            self._look(pod, groups, registered)
        dead = [pid for pid in self._heard() if group.read(pid) is None]
        if dead:
            self._ended(dead)
        for replica in self.replicas:
            self._keep(replica)
        self._leaving = [pod for pod in self._leaving if not self._over(pod)]
        self._roll()

    def _all(self) -> list[LocalPod]:
        surging = [self._surge[1]] if self._surge else []
        return [*(replica.pod for replica in self.replicas if replica.pod), *self._leaving, *surging]

    def _look(self, pod: LocalPod, groups: dict[int, list[group.Process]], registered: frozenset[int]) -> None:
        before = self._known.get(pod.name, frozenset())
        pod.look(groups)
        members = frozenset(process.pid for process in groups.get(pod.process.pid, []))
        if before - members:
            self._ended(before - members)
        self._known[pod.name] = members
        _reap_orphans(before - members, pod.process.pid)
        if not pod.is_ready and pod.running() and pod.has_come_up(registered):
            pod.is_ready = True
            self._note(PodEvent(pod=pod.name, what="ready", at=now()))
        if pod.deletion is not None:
            began = now()
            killed = pod.deletion.go_on()
            if killed:
                self._struck("grace-over", pod.name, killed, began)
        if not pod.running() and not pod.ended:
            pod.ended = True
            self._note(PodEvent(pod=pod.name, what="end", at=now(), detail={"code": pod.exit_code()}))

    def _keep(self, replica: Replica) -> None:
        pod = replica.pod
        if pod is not None and not pod.running():
            replica.pod = None
            replica.start_at = now() + self._pause()
            self._leaving.append(pod)
        if replica.pod is None and replica.wanted and now() >= replica.start_at:
            replica.pod = self._start(replica)

    def _start(self, replica: Replica) -> LocalPod:
        replica.count += 1
        pod = LocalPod(replica, self._recipe, self._note)
        self._groups.add(pod.process.pid)
        return pod

    def _over(self, pod: LocalPod) -> bool:
        if not pod.gone():
            return False
        if pod.deletion is not None:
            pod.deletion.close()
        if pod.limit is not None:
            pod.limit.close()
        return True

    # -- the Deployment

    def scale(self, replicas: int) -> None:
        """Want the first so many."""
        for number, replica in enumerate(self.replicas):
            replica.wanted = number < replicas
            if not replica.wanted and replica.pod is not None:
                replica.pod.delete(self._recipe.termination)

    def rollout_restart(self) -> None:
        """Replace one replica after the other, and let it run the other version."""
        for replica in self.replicas:
            replica.version = "old" if replica.version == "new" else "new"
        self._rollout = [replica for replica in self.replicas if replica.wanted]

    def rolling(self) -> bool:
        """Whether a rollout is under way."""
        return bool(self._rollout) or self._surge is not None

    def _roll(self) -> None:
        if self._surge is not None:
            replica, new, old = self._surge
            if not new.running() or not replica.wanted:
                new.delete(self._recipe.termination)
                self._leaving.append(new)
                self._surge = None  # the kubelet's restart of it is the replica's own business
            elif new.is_ready or replica.pod is not old:
                if replica.pod is old:
                    old.delete(self._recipe.termination)
                    self._leaving.append(old)
                elif replica.pod is not None:
                    replica.pod.delete(self._recipe.termination)
                    self._leaving.append(replica.pod)
                replica.pod = new
                self._surge = None
        elif self._rollout:
            replica = self._rollout.pop(0)
            if replica.wanted and replica.pod is not None and replica.pod.running() and replica.pod.deletion is None:
                self._surge = (replica, self._start(replica), replica.pod)

    def drain(self, pod: Pod) -> None:
        """Evict this pod and every second one beside it: half of the replicas are its node."""
        place = self.replicas.index(self.replica_of(pod)) % 2
        for replica in self.replicas[place::2]:
            if replica.pod is not None:
                replica.pod.delete(self._recipe.termination)

    def close(self) -> None:
        """Kill everything, and wait for it."""
        for replica in self.replicas:
            replica.wanted = False
        for pod in self._all():
            group.kill(pod.members(), group=pod.process.pid)
            pod.process.wait()
            _reap_orphans(pod.members(), pod.process.pid)
            pod.look(group.by_group())
            self._over(pod)


def _reap_orphans(pids: Iterable[int], main: int) -> None:
    """Take the exit codes of processes whose parent died: they became ours, and would stay as zombies."""
    for pid in pids:
        if pid != main:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue
