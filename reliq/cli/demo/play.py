"""The play: jobs go in, workers run them, kills hit, everything is waited for."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TypeVar
from urllib.parse import quote

import attrs
import click

from reliq.cli.common import inspecting
from reliq.cli.demo import jobs
from reliq.cli.demo.ledger import Counts, Kill, Ledger, Run
from reliq.cli.demo.pods import PROCESSES, Pod, end_server
from reliq.cli.demo.proof import Effect, Proof, examine, pending
from reliq.cli.demo.screen import Screen, seconds
from reliq.cli.program import STOPPING
from reliq.cli.settings import Settings
from reliq.inspect import Inspector

T = TypeVar("T")

LOOK = 0.02
"""Seconds between two looks at the ledger."""

QUIET = 4.0
"""Seconds without a sign of life after which jobs that are nowhere to be seen are given up; the longest takes 1 s."""

STARTING = 20.0
"""Seconds in which the workers must be there."""

STEADY = 1.5
"""Seconds for the pods to see each other's heartbeat. Jobs of one that dies before that must wait for its TTL."""

SURE = 0.1
"""Seconds that a job must still need, so that a kill that is sent now finds it running."""

FIRST, SECOND = (0.20, 0.35), (0.50, 0.65)
"""Shares of the jobs that are done when the kills come."""

KILLS = 2


class _Over(Exception):
    """The deadline has passed."""


@attrs.frozen(kw_only=True)
class Plan:
    """What is played. `sizes` are the bytes of each file, by its path, in the order of the queue; times are seconds."""

    sizes: dict[str, int]
    seed: int
    superfetch: bool
    deadline: float


class Play:
    """One run in a folder of its own."""

    def __init__(self, plan: Plan, folder: Path, screen: Screen) -> None:
        self._plan = plan
        self._folder = folder
        self._screen = screen
        self._random = random.Random(plan.seed)
        self._url = f"embedded://{quote(str(folder / 'server'))}"
        self._book = folder / "ledger.sqlite"
        self._pods: list[Pod] = []
        self._hoped: list[Kill] = []  # kills whose jobs have not all started again
        self._files: tuple[str, ...] = ()  # those whose jobs are enqueued
        self._told = False
        self._until = time.monotonic() + plan.deadline

    def run(self) -> Proof:
        """Play it; return what the ledger says. Raises Abort when told to end, ClickException when nothing works."""
        began = time.monotonic()
        with ExitStack() as stack:
            stack.enter_context(self._signals())
            stack.callback(self._end_server)
            ledger = stack.enter_context(Ledger(self._book, create=True))
            jobs.app.configure(url=self._url)
            stack.callback(jobs.app.close)
            inspector = stack.enter_context(inspecting(Settings({"url": self._url}, url_on_command_line=True)))
            stack.callback(self._end_pods, 0.0)
            late = False
            try:
                self._perform(ledger, inspector)
            except _Over:
                late = True
            took = time.monotonic() - began
            self._end_pods(STOPPING)
            return Proof(
                files=self._files,
                results=ledger.results(),
                runs=ledger.runs(),
                kills=ledger.kills(),
                kills_wanted=KILLS,
                status=inspector.status(),
                seconds=took,
                late=late,
            )

    # -- the acts

    def _perform(self, ledger: Ledger, inspector: Inspector) -> None:
        for _ in range(2):
            self._start_pod()
        self._wait(ledger, lambda _: len(inspector.status().processes) >= 2 * PROCESSES, STARTING)
        self._screen.say(f"2 pods run, with {PROCESSES} worker processes each")
        self._wait(ledger, lambda _: False, STEADY)
        self._files = tuple(self._plan.sizes)
        jobs.measure.enqueue_many((file, str(self._book)) for file in self._files)
        self._screen.say(f"{len(self._files):,} jobs are enqueued")
        one, other = self._random.sample(self._pods, 2)
        if (victims := self._moment(ledger, one, FIRST)) is not None:
            self._strike(ledger, one.kill_process(self._random.choice(victims).pid))
        if self._moment(ledger, other, SECOND) is not None:
            self._strike(ledger, other.kill())
            self._start_pod()
            self._screen.say(f"pod {len(self._pods)} starts in its place")
        self._settle(ledger, inspector)

    def _start_pod(self) -> None:
        number = len(self._pods) + 1
        self._pods.append(Pod(number, self._folder, self._url, superfetch=self._plan.superfetch))

    def _moment(self, ledger: Ledger, pod: Pod, between: tuple[float, float]) -> list[Run] | None:
        """Wait for the moment of a kill; return the runs that it will certainly hit, None if all is done before."""
        due = self._random.uniform(*between) * len(self._plan.sizes)

        def ripe(counts: Counts) -> list[Run] | bool:
            if counts.results >= len(self._plan.sizes):
                return True
            now = time.monotonic()
            return counts.results >= due and [
                run
                for run in ledger.running(pod.pid)
                if run.started + jobs.pause(self._plan.sizes[run.file]) > now + SURE
            ]

        found = self._wait(ledger, ripe, QUIET)
        return found if isinstance(found, list) and found else None

    def _strike(self, ledger: Ledger, kill: Kill | None) -> None:
        if kill is None:
            return  # it had ended by itself, and the proof will miss a kill
        ledger.killed(kill)
        hit = len(self._effect(ledger, kill).cut)
        self._screen.say(f"[bold]kill -9 of {kill.what}[/], amid {hit} jobs")
        self._hoped.append(kill)

    def _settle(self, ledger: Ledger, inspector: Inspector) -> None:
        """Wait until Redis has nothing left to do and every job has its result, or nothing moves any more."""
        looked = 0.0

        def done(counts: Counts) -> bool:
            nonlocal looked
            now = time.monotonic()
            if now - looked < 0.2:
                return False
            looked = now
            return counts.results >= len(self._plan.sizes) and pending(inspector.status()) == 0

        while not self._wait(ledger, done, QUIET) and pending(inspector.status()):
            pass  # jobs of a dead pod may have to wait for its heartbeat to run out

    # -- watching

    def _wait(self, ledger: Ledger, ready: Callable[[Counts], T], quiet: float | None = None) -> T | None:
        """Return the first true answer of `ready`, or None once the ledger has not changed for `quiet` seconds."""
        last, changed = ledger.counts(), time.monotonic()
        while True:
            counts = ledger.counts()
            now = time.monotonic()
            if counts != last:
                last, changed = counts, now
            self._screen.show(counts.results)
            self._hope(ledger)
            for pod in self._pods:
                pod.check()
            if self._told:
                raise click.Abort
            if now >= self._until:
                raise _Over
            if answer := ready(counts):
                return answer
            if quiet is not None and now - changed >= quiet:
                return None
            time.sleep(LOOK)

    def _hope(self, ledger: Ledger) -> None:
        """Say when all jobs of a kill have started again."""
        for kill in list(self._hoped):
            effect = self._effect(ledger, kill)
            if effect.times is not None and not effect.outstanding:
                self._hoped.remove(kill)
                median, worst = effect.times
                self._screen.say(
                    f"recovered: its {len(effect.again)} jobs have started again, after {seconds(median)} (median), "
                    f"{seconds(worst)} (worst)"
                )

    @staticmethod
    def _effect(ledger: Ledger, kill: Kill) -> Effect:
        effects, _ = examine(ledger.runs(), ledger.kills())
        return next(effect for effect in effects if effect.kill == kill)

    # -- the end

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Let INT, TERM and HUP end the play at its next look, never in the middle of starting or ending something."""
        kept = {}

        def tell(_: int, __: FrameType | None) -> None:
            self._told = True

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            kept[number] = signal.signal(number, tell)
        try:
            yield
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)

    def _end_pods(self, within: float) -> None:
        for pod in self._pods:
            if within:
                pod.ask_to_stop()
        until = time.monotonic() + within
        stuck = [pod.number for pod in self._pods if not pod.end(max(0.0, until - time.monotonic()))]
        if stuck:
            raise click.ClickException(f"pods {stuck} cannot be killed")

    def _end_server(self) -> None:
        if not end_server(self._folder / "server"):
            raise click.ClickException(f"the embedded server in {self._folder / 'server'} does not end")
