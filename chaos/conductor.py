"""The conductor: sets the stage, plays a scenario, lets everything come to rest, and measures."""

from __future__ import annotations

import ctypes
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import attrs

import reliq
from chaos.auditor import Auditor
from chaos.collector import Collector
from chaos.faults import ALL
from chaos.jobs import app
from chaos.ledger import Ledger
from chaos.observer import Observer
from chaos.pods.local import ROOT, LocalCluster, Recipe, Replica
from chaos.proxy import Proxy, Scripts
from chaos.records import Settings, now
from chaos.rest import Rest
from chaos.scenarios import Scenario
from chaos.servers import Server
from chaos.stage import Stage
from chaos.workload import Producer

TICK = 0.04
WAKE_WITHIN = 30.0
"""Seconds that pods have to come up."""
PASSWORDLESS = "plain on nopass ~* &* +@all -client"
"""An ACL line: a user who may do everything but CLIENT."""
GRACE = 1.0
"""Seconds that interrupted jobs have to unwind."""
COMMAND_TIMEOUT, CONNECT_TIMEOUT, BACKOFF = 0.8, 0.8, 0.4

Shown = Callable[[str, "Run"], None]
"""Told what is going on: the phase, and the run."""


class StageError(Exception):
    """The run could not be set up: nothing can be said about reliq."""


@attrs.frozen(kw_only=True)
class Options:
    """What the command line says of a run."""

    seed: int
    minutes: float
    jobs: int | None = None
    pods: int | None = None
    code: Path = ROOT
    """The tree whose reliq the pods run."""
    plan: tuple[tuple[float, str], ...] | None = None
    """When to strike with what, seconds from the beginning: a replay."""


class Run:
    """One run, from an empty Redis to the last measurement. Use it as a context manager; `play` it once."""

    def __init__(self, scenario: Scenario, options: Options, directory: Path, shown: Shown = lambda *_: None) -> None:
        self.scenario = scenario
        self.options = options
        self.directory = directory
        self.shown = shown
        self.rng = random.Random(options.seed)
        self._deck = self._draw()
        self.settings = self._settings()
        self.ledger = Ledger(directory / "ledger.sqlite")
        self.ledger.say_settings(self.settings)
        self.collector = Collector(self.ledger, directory / "collector")
        self.server = Server(
            durable=scenario.durability != "none",
            settings={
                "appendfsync": "always" if scenario.durability == "always" else "everysec",
                "maxmemory-policy": "noeviction",
                **({} if scenario.client_list else {"user": PASSWORDLESS}),
            },
        )
        self.ledger.say("server_version", self.server.version())
        self.observer = Observer(unix_socket_path=str(self.server.socket))
        self._watch = Observer(timeout=0.3, unix_socket_path=str(self.server.socket))
        scripts = Scripts()
        names = [f"pod-{number + 1}" for number in range(self.settings.pods)]
        self.doors = {name: Proxy(self.server.socket, scripts) for name in [*names, "producer"]}
        self.cluster = LocalCluster(
            [Replica(name, self._url(self.doors[name])) for name in names],
            self._recipe(),
            note=self.ledger.add_pod_event,
            struck=lambda *what: self.stage.grace_over(*what),  # noqa: PLW0108 - there is no stage yet
            registered=self._watch.registered,
            ended=self._ended,
            heard=lambda: self.stage.heard(),  # noqa: PLW0108 - there is no stage yet
            pause=lambda: self.rng.uniform(0.1, 0.8),
        )
        self.stage = Stage(
            ledger=self.ledger,
            collector=self.collector,
            server=self.server,
            observer=self.observer,
            cluster=self.cluster,
            doors=self.doors,
            rng=self.rng,
            dead_after=self.settings.ttl + self.settings.confirm,
            beat=self.settings.beat,
            durability=scenario.durability,
        )
        self.collector.listeners.append(self.stage.saw)
        self.collector.start()
        self.producer = self._producer()
        self.auditor = Auditor(
            ledger=self.ledger,
            collector=self.collector,
            observer=Observer(unix_socket_path=str(self.server.socket)),
            jobs=self.known,
        )
        self.plan: list[tuple[float, str]] = []

    def __enter__(self) -> Self:
        # Orphans of killed supervisors become ours, so that their ends can be taken note of.
        ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.producer.stop()
        self.auditor.stop()
        for thread in (self.producer, self.auditor):
            if thread.is_alive():
                thread.join(20)
        self.server.resume_if_paused()
        self.cluster.close()
        for door in self.doors.values():
            door.close()
        self.collector.close()
        self.observer.close()
        self._watch.close()
        self.server.close()
        self.ledger.close()

    def _settings(self) -> Settings:
        scenario, options = self.scenario, self.options
        seconds = options.minutes * 60
        most = max(1, int(0.8 * seconds / scenario.gap))  # as many faults as there will surely be
        return Settings(
            scenario=scenario.name,
            seed=options.seed,
            minutes=options.minutes,
            jobs=options.jobs if options.jobs is not None else max(20, int(scenario.rate * seconds)),
            pods=options.pods or scenario.pods,
            processes=scenario.processes,
            concurrency=scenario.concurrency,
            beat=scenario.beat,
            ttl=scenario.ttl,
            confirm=CONNECT_TIMEOUT + COMMAND_TIMEOUT + BACKOFF + scenario.beat,
            crash_limit=3,
            durability=scenario.durability,
            client_list=scenario.client_list,
            stop=scenario.timeout + GRACE,
            armed=tuple(sorted(set(self._deck[-most:]))),
            revision=_revision(),
        )

    def _environment(self) -> dict[str, str]:
        settings = self.settings
        values = {
            "beat": settings.beat,
            "ttl": settings.ttl,
            "connect_timeout": CONNECT_TIMEOUT,
            "command_timeout": COMMAND_TIMEOUT,
            "longest_backoff": BACKOFF,
            "resend_for": 4.0,
            "crash_limit": settings.crash_limit,
        }
        return {f"RELIQ_{name.upper()}": str(value) for name, value in values.items()}

    def _recipe(self) -> Recipe:
        return Recipe(
            directory=self.directory,
            collector=f"unix:{self.directory / 'collector'}",
            environment=self._environment(),
            processes=self.settings.processes,
            concurrency=self.settings.concurrency,
            timeout=self.scenario.timeout,
            grace=GRACE,
            memory=self.scenario.memory,
            code=self.options.code,
        )

    def _url(self, door: Proxy) -> str:
        return door.url if self.scenario.client_list else door.url.replace("unix://", "unix://plain:x@")

    def _producer(self) -> Producer:
        settings = self.settings
        app.configure(
            url=self.doors["producer"].url,
            connect_timeout=CONNECT_TIMEOUT,
            command_timeout=COMMAND_TIMEOUT,
            longest_backoff=BACKOFF,
            resend_for=4.0,
        )
        return Producer(
            ledger=self.ledger,
            door=self.doors["producer"].socket,
            weights=self.scenario.workload,
            jobs=settings.jobs,
            seconds=settings.minutes * 60,
            seed=settings.seed,
            queues=("critical", "default"),
        )

    def known(self) -> dict[int, Any]:
        """The jobs that are known to be enqueued, by token."""
        inside = {token: job for token, job in list(self.collector.children.items()) if job.answer == "acked"}
        return {**dict(self.producer.acked), **inside}

    def _ended(self, pids: Any) -> None:
        self.collector.settle()  # what they said last comes before their death
        self.collector.processes_ended(pids)
        self.stage.ended(set(pids))

    # -- the play

    def play(self) -> None:
        """Play it all."""
        rest = Rest(self)
        self._wake(rest)
        self.producer.start()
        self.auditor.start()
        self._strike()
        final = rest.come()
        self.ledger.say("plan", self.plan)
        self.ledger.say("fired", self.stage.fired)
        self.ledger.say("audits_failed", self.auditor.failed)
        for name in ("seen", "dropped"):
            self.ledger.say(name, dict(self.commands(name)))
        self.ledger.say_final(final)

    def commands(self, name: Literal["seen", "dropped"]) -> Counter[str]:
        """How many commands went through the doors by name, or how many lost their reply there."""
        counters: list[Counter[str]] = [getattr(door, name) for door in self.doors.values()]
        return sum(counters, start=Counter())

    def until(self, condition: Callable[[], bool], within: float, phase: str) -> bool:
        """Go on until the condition holds; False if that took longer than `within` seconds."""
        until = now() + within
        while not condition():
            if now() >= until:
                return False
            self.tick(phase)
        return True

    def tick(self, phase: str) -> None:
        """Go on for a moment."""
        began = now()
        self.stage.tick()
        self.shown(phase, self)
        late = now() - began
        if late > 1.0:
            self.stage.log("harness-late", "harness", "none", at=began, ended_at=now(), observed=True)
        time.sleep(max(0.0, TICK - late))

    def _wake(self, rest: Rest) -> None:
        """Start one pod, measure it idle, and start the others."""
        everybody = len(self.cluster.replicas)
        self.cluster.scale(1)
        self._await_pods(1)
        rest.look_before()
        self.cluster.scale(everybody)
        self._await_pods(everybody)

    def _await_pods(self, count: int) -> None:
        if not self.until(lambda: len(self.stage.ready()) >= count, WAKE_WITHIN, "waking"):
            logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in self.directory.glob("*.log"))
            raise StageError(f"{len(self.stage.ready())} of {count} pods came up within {WAKE_WITHIN:g} s\n{logs}")

    def _strike(self) -> None:
        """Strike at random times, each fault as often as the scenario wants it; or by a plan.

        Goes on a while after the time is over if a fault that was armed has not fired: a trap may find nobody.
        """
        began = now()
        seconds = self.settings.minutes * 60
        deck = list(self._deck)
        plan = list(self.options.plan or ())
        strike_at = began + 1.0
        while now() - began < seconds or (self._unfired() and now() - began < 1.5 * seconds + 20):
            self.tick("faults")
            if self.options.plan is not None:
                if plan and now() - began >= plan[0][0]:
                    self._one(plan.pop(0)[1], began)
            elif now() >= strike_at:
                if now() - began > seconds:
                    deck = sorted(self._unfired())
                elif not deck:
                    deck = self._draw()
                name = deck.pop()
                if not self._one(name, began):
                    deck.insert(max(0, len(deck) - 3), name)  # nobody was there to be struck: soon again
                strike_at = now() + min(3 * self.scenario.gap, self.rng.expovariate(1 / self.scenario.gap))

    def _unfired(self) -> set[str]:
        return set(self.settings.armed) - set(self.stage.fired)

    def _draw(self) -> list[str]:
        """Every fault as often as the scenario says, shuffled; taken from the end."""
        deck = [name for name, times in self.scenario.faults.items() for _ in range(times)]
        self.rng.shuffle(deck)
        return deck

    def _one(self, name: str, began: float) -> bool:
        struck = ALL[name].strike(self.stage)
        if struck:
            self.plan.append((round(now() - began, 3), name))
        return struck


def _revision() -> str:
    try:
        run = subprocess.run(
            ["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return reliq.__version__
    return run.stdout.strip()
