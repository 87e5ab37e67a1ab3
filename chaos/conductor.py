"""The conductor: sets the stage, plays a scenario, lets everything come to rest, and measures."""

from __future__ import annotations

import ctypes
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import attrs

from chaos import revisions
from chaos.auditor import Auditor
from chaos.collector import Collector
from chaos.faults import ALL
from chaos.jobs import app
from chaos.ledger import Ledger
from chaos.pods.local import ROOT
from chaos.pressure import Pressure
from chaos.records import Settings, now
from chaos.rest import Rest
from chaos.scenarios import Scenario, left_out
from chaos.sites.base import BACKOFF, COMMAND_TIMEOUT, CONNECT_TIMEOUT, Hooks, Site, StageError
from chaos.sites.local import CRASH_LIMIT, LocalSite
from chaos.stage import Stage
from chaos.workload import Producer

TICK = 0.04

Shown = Callable[[str, "Run"], None]
"""Told what is going on: the phase, and the run."""


@attrs.frozen(kw_only=True)
class Options:
    """What the command line says of a run."""

    seed: int
    minutes: float
    jobs: int | None = None
    pods: int | None = None
    code: Path = ROOT
    """The tree whose reliq the pods run."""
    old: str = ""
    """The revision of reliq that old pods run where pods are rolled out; empty: the same as new ones."""
    plan: tuple[tuple[float, str], ...] | None = None
    """When to strike with what, seconds from the beginning: a replay."""


class Run:
    """One run, from an empty Redis to the last measurement. Use it as a context manager; `play` it once.

    By default on this machine. Raises StageError if it cannot be set up.
    """

    def __init__(
        self,
        scenario: Scenario,
        options: Options,
        directory: Path,
        shown: Shown = lambda *_: None,
        site: Site | None = None,
    ) -> None:
        self.scenario = scenario
        self.options = options
        self.directory = directory
        self.shown = shown
        self.site = site or self._here()
        self.left_out = left_out(scenario, self.site.offers)
        if self.left_out.keys() == scenario.faults.keys():
            lacks = ", ".join(sorted(frozenset().union(*self.left_out.values())))
            raise StageError(f"{scenario.name} cannot be played there: all its faults need what is missing ({lacks})")
        self.rng = random.Random(options.seed)
        self._deck = self._draw()
        self.settings = self._settings()
        self.plan: list[tuple[float, str]] = []
        with ExitStack() as opened:
            self._open(opened)
            self._opened = opened.pop_all()

    def _here(self) -> LocalSite:
        old = None
        if self.options.old:
            try:
                old = revisions.tree(self.options.old, self.directory / "old")
            except revisions.RevisionError as error:
                raise StageError(f"there is no tree of {self.options.old}: {error}") from None
        pods = self.options.pods or self.scenario.pods
        return LocalSite(self.scenario, pods, self.directory, self.options.code, old)

    def _open(self, opened: ExitStack) -> None:
        """Prepare everything; what was opened last is closed first."""
        self.ledger = opened.enter_context(Ledger(self.directory / "ledger.sqlite"))
        self.ledger.say_settings(self.settings)
        try:
            self.collector = Collector(self.ledger, self.directory / "collector", self.site.tcp)
        except OSError as error:
            where = ":".join(map(str, self.site.tcp or ()))
            why = str(error.strerror).partition(" (")[0]
            raise StageError(f"the collector cannot listen at {where}: {why}") from None
        self.collector.hung_up = self._hung_up
        self.collector.start()
        opened.callback(self.collector.close)
        self.site.open(
            Hooks(
                note=self.ledger.add_pod_event,
                struck=lambda *what: self.stage.grace_over(*what),  # noqa: PLW0108 - there is no stage yet
                ended=self._ended,
                heard=lambda: self.stage.heard(),  # noqa: PLW0108 - there is no stage yet
                pause=lambda: self.rng.uniform(0.1, 0.8),
            )
        )
        opened.callback(self.site.close)
        self.cluster = self.site.cluster
        self.ledger.say("server_version", self.site.version())
        self.observer = self.site.observer()
        opened.callback(self.observer.close)
        self.stage = Stage(
            ledger=self.ledger,
            collector=self.collector,
            server=self.site.server,
            observer=self.observer,
            cluster=self.cluster,
            pods=self.settings.pods,
            doors=self.site.doors,
            rng=self.rng,
            dead_after=self.settings.ttl + self.settings.confirm,
            beat=self.settings.beat,
            durability=self.scenario.durability,
            lose_only=self.scenario.lose_only,
        )
        self.collector.listeners.append(self.stage.saw)
        self.producer = self._producer()
        looks = self.site.observer()
        opened.callback(looks.close)
        self.auditor = Auditor(ledger=self.ledger, collector=self.collector, observer=looks, jobs=self.known)
        self.pressure = Pressure()
        opened.callback(self._end_threads)

    def __enter__(self) -> Self:
        # Orphans of killed supervisors become ours, so that their ends can be taken note of.
        ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._opened.close()

    def _end_threads(self) -> None:
        self.producer.stop()
        self.auditor.stop()
        self.pressure.stop()
        for thread in (self.producer, self.auditor, self.pressure):
            if thread.is_alive():
                thread.join(20)

    def _settings(self) -> Settings:
        scenario, options, sizes = self.scenario, self.options, self.site.sizes
        seconds = options.minutes * 60
        most = max(1, int(0.8 * seconds / scenario.gap))  # as many faults as there will surely be
        return Settings(
            scenario=scenario.name,
            seed=options.seed,
            minutes=options.minutes,
            jobs=options.jobs if options.jobs is not None else max(20, int(scenario.rate * seconds)),
            pods=options.pods or scenario.pods,
            **attrs.asdict(sizes),
            crash_limit=CRASH_LIMIT,
            durability=scenario.durability,
            client_list=scenario.client_list,
            armed=tuple(sorted(set(self._deck[-most:]))),
            revision=revisions.current(),
            old=self.options.old,
            driver=self.site.driver,
        )

    def _producer(self) -> Producer:
        settings = self.settings
        app.configure(
            url=self.site.way,
            connect_timeout=CONNECT_TIMEOUT,
            command_timeout=COMMAND_TIMEOUT,
            longest_backoff=BACKOFF,
            resend_for=4.0,
        )
        return Producer(
            ledger=self.ledger,
            url=self.site.way,
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

    def _ended(self, pids: Iterable[int] | None, host: str = "") -> None:
        self.collector.settle()  # what they said last comes before their death
        self._mourn(None if pids is None else set(pids), host)

    def _hung_up(self, pid: int, host: str) -> None:
        self._mourn({pid}, host)  # in the collector's thread, which has taken all that it said

    def _mourn(self, pids: set[int] | None, host: str) -> None:
        self.collector.processes_ended(pids, host)
        self.stage.ended(pids, host)

    # -- the play

    def play(self) -> None:
        """Play it all."""
        rest = Rest(self)
        self.pressure.start()
        self._wake(rest)
        self.producer.start()
        self.auditor.start()
        self._strike()
        final = rest.come()
        self.ledger.say("plan", self.plan)
        self.ledger.say("fired", self.stage.fired)
        self.ledger.say("audits_failed", self.auditor.failed)
        self.ledger.say("short_of_processors", self.pressure.spans)
        for name in ("seen", "dropped"):
            self.ledger.say(name, dict(self.commands(name)))
        self.ledger.say_final(final)

    def commands(self, name: Literal["seen", "dropped"]) -> Counter[str]:
        """How many commands went through the doors by name, or how many lost their reply there."""
        counters: list[Counter[str]] = [getattr(door, name) for door in self.site.doors.values()]
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
        self.cluster.scale(1)
        self._await_pods(1)
        self.site.check()
        rest.look_before()
        self.cluster.scale(self.settings.pods)
        self._await_pods(self.settings.pods)

    def _await_pods(self, count: int) -> None:
        within = self.site.wake_within
        if not self.until(lambda: len(self.stage.ready()) >= count, within, "waking"):
            came = f"{len(self.stage.ready())} of {count} pods came up within {within:g} s"
            raise StageError(came + self.site.asleep())

    def _strike(self) -> None:
        """Strike at random times, each fault as often as the scenario wants it; or by a plan.

        Goes on a while after the time is over if a fault that was armed has not fired: a trap may find nobody. The
        producer goes on as well.
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
                if not deck:
                    continue  # the last one that was waited for has fired in this very moment
                name = deck.pop()
                if not self._one(name, began):
                    deck.insert(max(0, len(deck) - 3), name)  # nobody was there to be struck: soon again
                strike_at = now() + min(3 * self.scenario.gap, self.rng.expovariate(1 / self.scenario.gap))

    def _unfired(self) -> set[str]:
        return set(self.settings.armed) - set(self.stage.fired)

    def _draw(self) -> list[str]:
        """Every fault as often as the scenario says, shuffled; taken from the end."""
        faults = self.scenario.faults.items()
        deck = [name for name, times in faults for _ in range(times) if name not in self.left_out]
        self.rng.shuffle(deck)
        return deck

    def _one(self, name: str, began: float) -> bool:
        struck = ALL[name].strike(self.stage)
        if struck:
            self.plan.append((round(now() - began, 3), name))
        return struck
