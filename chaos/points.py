"""Crash points: one job after the other, and the process that has it dies at its first command, at its second, ...

Everything is real: the command line, its processes, the server. The proxy counts the commands that one process sends
since the job was enqueued, and strikes at number k: before it arrives (`before`), when it was applied and before that
is known (`after`), or its reply is lost and the process lives on (`lost`). Then number k + 1, until the job's path is
through without a strike.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import attrs

from chaos.collector import Collector
from chaos.jobs import app, quick
from chaos.ledger import Ledger
from chaos.observer import Observer
from chaos.pods import group
from chaos.pods.local import LocalCluster, LocalPod, Recipe, Replica
from chaos.proxy import Command, Proxy, Scripts, Trap
from chaos.records import now
from chaos.servers import Server

Mode = Literal["before", "after", "lost"]
MODES: tuple[Mode, ...] = ("before", "after", "lost")
MOST = 60
"""Commands after which a path that does not end is a fault of its own."""
WITHIN = 20.0
"""Seconds that one case may take."""
FAST = {"beat": 0.2, "ttl": 1.0, "connect_timeout": 0.5, "command_timeout": 0.5, "longest_backoff": 0.2}


@attrs.frozen
class Way:
    """A part of a job's life: who is struck, what sets it off, where the job must be at the end."""

    name: str
    actor: Literal["child", "main"]
    begin: Callable[[Bench], list[int]]
    """Sends the jobs, and does what leads to the commands; returns their tokens."""
    ends_in: Literal["done", "retry", "dropped"] = "done"
    interrupts: bool = False
    """Whether the job may be interrupted once on purpose."""
    only: frozenset[str] = frozenset()
    """The commands that count; all if empty. A supervisor sends many that have nothing to do with the job."""


@attrs.frozen
class Case:
    """One crash, and what was wrong after it; `command` is empty if the path was through before number k."""

    path: str
    mode: Mode
    k: int
    command: str
    wrong: tuple[str, ...]


@attrs.define
class _Crash:
    """What was true at the moment of the strike."""

    command: str = ""
    runs: dict[int, int] = attrs.field(factory=dict)
    ended: set[int] = attrs.field(factory=set)
    homes: dict[int, list[str]] = attrs.field(factory=dict)
    lives: bool = False
    elsewhere: bool = False
    """Whether it struck the pod that runs no jobs, and so cost no run of one."""


class Bench:
    """A server, one pod with one worker process behind a proxy, and a second pod that only recovers."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ledger = Ledger(directory / "ledger.sqlite")
        self.collector = Collector(self.ledger, directory / "collector")
        self.collector.start()
        self.starts: dict[int, int] = {}
        self.interrupted: set[int] = set()
        """Jobs that were stopped in mid-run by what the path does itself."""
        self.collector.listeners.append(self._heard)
        self.server = Server()
        self.observer = Observer(unix_socket_path=str(self.server.socket))
        scripts = Scripts()
        self.door = Proxy(self.server.socket, scripts)
        self.other_door = Proxy(self.server.socket, scripts)
        self.worker = self._cluster("worker", self.door, ("default",))
        self.other = self._cluster("other", self.other_door, ("elsewhere",))
        self._token = 0
        app.configure(url=self.server.url)

    def _cluster(self, name: str, door: Proxy, queues: tuple[str, ...]) -> LocalCluster:
        recipe = Recipe(
            directory=self.directory,
            collector=f"unix:{self.directory / 'collector'}",
            environment={f"RELIQ_{key.upper()}": str(value) for key, value in FAST.items()},
            processes=1,
            concurrency=2,
            queues=queues,
            timeout=0.2,
            grace=0.5,
        )
        return LocalCluster(
            [Replica(name, door.url)],
            recipe,
            note=lambda _: None,
            struck=lambda *_: None,
            registered=self.observer.registered,
            ended=self.collector.processes_ended,
            pause=lambda: 0.0,
        )

    def __enter__(self) -> Self:
        self.ready()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for cluster in (self.worker, self.other):
            cluster.close()
        self.door.close()
        self.other_door.close()
        self.collector.close()
        app.close()
        self.observer.close()
        self.server.close()
        self.ledger.close()

    def _heard(self, what: str, run: Any) -> None:
        if what == "start":
            self.starts[run.token] = self.starts.get(run.token, 0) + 1
        elif what == "end" and run.outcome == "interrupted":
            self.interrupted.add(run.token)

    # -- doing

    def token(self) -> int:
        """A fresh token."""
        self._token += 1
        return self._token

    def pod(self) -> LocalPod:
        """The pod that runs jobs."""
        pod = self.worker.pods()[0]
        assert isinstance(pod, LocalPod)
        return pod

    def until(self, condition: Callable[[], bool], within: float = WITHIN) -> bool:
        """Keep the pods alive until the condition holds; False at the deadline."""
        until = now() + within
        while not condition():
            if now() > until:
                return False
            self.worker.tick()
            self.other.tick()
            time.sleep(0.004)
        return True

    def ready(self) -> None:
        """Wait until both pods are there and idle."""
        clusters = (self.worker, self.other)
        up = self.until(lambda: all(any(pod.ready() for pod in cluster.pods()) for cluster in clusters))
        assert up, "the pods do not come up: " + "".join(p.read_text()[-1500:] for p in self.directory.glob("*.log"))

    def kill_runner(self, token: int) -> None:
        """SIGKILL the process that runs a job: beside it another one may linger that ran jobs in quarantine."""
        pod = self.pod()
        children = pod.children()
        pid = next((run.pid for run in self.collector.open_runs() if run.token == token), None)
        if pid in children:
            pod.kill_child(children.index(pid))

    def started(self, token: int) -> None:
        """Wait until a job runs."""
        assert self.until(lambda: token in self.starts), f"job {token} does not start"

    def homes(self) -> dict[int, list[str]]:
        """Where every job is now."""
        return self.observer.census().homes

    # -- one case

    def case(self, path: Way, mode: Mode, k: int) -> Case:
        """Let one job go its way, and strike at command number k."""
        crash = _Crash(lives=mode == "lost")
        traps = self._set_trap(path, mode, k, crash)
        tokens = path.begin(self)
        through = self.until(lambda: self._over(path, tokens))
        for door, trap in traps:
            door.disarm(trap)
        wrong = [] if through else [f"not over within {WITHIN:g} s: {self.homes()}, runs {self._runs(tokens)}"]
        wrong += self._judge(path, tokens, crash)
        self._clear()
        return Case(path.name, mode, k, crash.command, tuple(wrong))

    def _set_trap(self, path: Way, mode: Mode, k: int, crash: _Crash) -> list[tuple[Proxy, Trap]]:
        # A duty is led by one of the two pods; whichever it is.
        doors = [self.door] if path.actor == "child" else [self.door, self.other_door]
        mains = {cluster.pods()[0].members()[0] for cluster in (self.worker, self.other)}
        count = 0

        def sent_by(pid: int) -> bool:
            try:
                return os.getpgid(pid) in mains and (pid in mains) == (path.actor == "main")
            except ProcessLookupError:
                return False

        def match(command: Command) -> bool:
            nonlocal count
            name = self.door.scripts.name(command)
            if path.only and name not in path.only:
                return False
            count += 1
            if count == k:
                crash.command = name or "?"
            return count == k

        def strike(pid: int) -> None:
            main = os.getpgid(pid)
            crash.elsewhere = main == self.other.pods()[0].members()[0]
            if path.actor == "main":
                group.kill(tuple(process.pid for process in group.by_group().get(main, [])), group=main)
            else:
                group.kill((pid,))
            self.collector.settle()
            crash.runs = dict(self.starts)
            crash.ended = {token for token in self.starts if self.collector.finished(token)}
            crash.homes = self.homes()

        if mode == "lost":
            return [(door, door.drop_reply(match, sent_by)) for door in doors]
        return [(door, door.strike(match, mode, strike, sender=sent_by)) for door in doors]

    def _over(self, path: Way, tokens: list[int]) -> bool:
        finished = [self.collector.finished(token) for token in tokens]
        if not all(finished):
            return False
        homes = self.homes()
        rest = "retry" if path.ends_in == "retry" else None
        return all(homes.get(token, []) == ([rest] if rest else []) for token in tokens)

    def _runs(self, tokens: list[int]) -> dict[int, int]:
        return {token: self.starts.get(token, 0) for token in tokens}

    def _judge(self, path: Way, tokens: list[int], crash: _Crash) -> list[str]:
        self.collector.settle()
        wrong = []
        for token in tokens:
            runs = self.starts.get(token, 0)
            least, most = self._expected(path, token, crash)
            if not least <= runs <= most:
                wrong.append(f"job {token} ran {runs} times, not {least} to {most}")
            if len(crash.homes.get(token, [])) > 1:
                wrong.append(f"job {token} had several homes when the process died: {crash.homes[token]}")
        return wrong

    def _expected(self, path: Way, token: int, crash: _Crash) -> tuple[int, int]:
        """How often the job has to run, at the least and at the most."""
        if crash.lives or crash.elsewhere or not crash.command:
            runs = 1 + (token in self.interrupted)
            return runs, runs
        ran = crash.runs.get(token, 0)
        homes = crash.homes.get(token, [])
        if not homes or homes == [path.ends_in]:
            return max(1, ran), max(1, ran)  # settled, or not sent yet
        # It was held or waiting, so it runs once more; unless it had ended, and the settle was on its way.
        settling = token in crash.ended
        return max(1, ran + (not settling)), ran + 1 + (path.interrupts and ran < 1)

    def _clear(self) -> None:
        """Nothing may be left of a case but what belongs there."""
        self.observer.client.delete("retry")
        self.ready()
        # The reapers look after the dead for a quarter of an hour; here they would only be in the way of counting.
        for identity in self.observer.fenced():
            self.observer.client.zrem("beats", identity)
            self.observer.client.hdel("fleet", identity)


def _send(bench: Bench, name: str, *args: Any, **options: Any) -> list[int]:
    token = bench.token()
    app.enqueue(name, token, *args, queue="default", **options)
    return [token]


def _several(bench: Bench) -> list[int]:
    tokens = [bench.token() for _ in range(5)]
    quick.enqueue_many([(token, None) for token in tokens])  # all at one instant: the worker finds several at once
    return tokens


def _stop(bench: Bench) -> list[int]:
    [token] = _send(bench, "work", 0.8, None)
    bench.started(token)
    bench.pod().process.terminate()
    return [token]


def _recover(bench: Bench) -> list[int]:
    [token] = _send(bench, "work", 0.5, None)
    bench.started(token)
    if bench.worker.pods():  # the strike may have come first
        bench.kill_runner(token)
        bench.collector.settle()
        bench.interrupted |= set() if bench.collector.finished(token) else {token}
    return [token]


def _reboot(bench: Bench) -> list[int]:
    bench.pod().kill_child(0)
    return _send(bench, "quick", None)


PROMOTION = frozenset({"promote"})
RECOVERY = frozenset({"CLIENT KILL", "condemn", "reap", "SREM", "DEL"})
WAYS: tuple[Way, ...] = (
    Way("ack", "child", lambda bench: _send(bench, "quick", None)),
    Way("backlog", "child", _several),
    Way("fence", "child", lambda bench: _send(bench, "work", 0.02, None)),
    Way("coroutine", "child", lambda bench: _send(bench, "coroutine", 0.02, None)),
    Way("fail", "child", lambda bench: _send(bench, "flaky", None), ends_in="retry"),
    Way("drop", "child", lambda bench: _send(bench, "once", True, None, retry=False), ends_in="dropped"),
    Way("boot", "child", _reboot),
    Way("stop", "child", _stop, interrupts=True),
    Way("promote", "main", lambda bench: [_later(bench)], only=PROMOTION),
    Way("recover", "main", _recover, interrupts=True, only=RECOVERY),
)


def _later(bench: Bench) -> int:
    token = bench.token()
    app.enqueue_in(0.1, "quick", token, None, queue="default")
    return token


def points(directory: Path, names: tuple[str, ...] = ()) -> Iterator[Case]:
    """Go through all paths, modes and commands; yield each case when it is judged."""
    with Bench(directory) as bench:
        for path in WAYS:
            if names and path.name not in names:
                continue
            for mode in MODES:
                for k in range(1, MOST + 1):
                    case = bench.case(path, mode, k)
                    yield case
                    if not case.command:
                        break
                else:
                    yield Case(path.name, mode, MOST, "", (f"the path is not through after {MOST} commands",))
