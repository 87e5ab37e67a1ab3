"""The actors: worker processes, supervisors, reapers, promoters and producers, moved by hand in one thread.

A `Process` is the real loop of a worker process (`reliq.server.process.Worker`), a pass at a time: only its threads,
its ears and its clock are ours. Jobs run at the moment they start; that they have ended is known when a test says so.
Waiting moves the clock.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any, Protocol, cast
from unittest.mock import patch

import attrs

from reliq.app import Reliq
from reliq.config import Config, QueueOption, WorkerConfig
from reliq.errors import StoreError, Unreachable
from reliq.handlers import Handlers
from reliq.outcome import Bury, Done, Drop, Release, Retry
from reliq.server import heartbeat, process
from reliq.server.board import Board, allocate
from reliq.server.ears import Heard
from reliq.server.executor.run import Run
from reliq.server.heartbeat import Heartbeat, Patient
from reliq.server.process import Worker
from reliq.server.promoter import Promoter
from reliq.server.reaper import Reaper
from reliq.server.recovery import Recovery
from reliq.server.role import Role
from reliq.store.claims import Ending
from reliq.store.processes import Entry
from reliq.store.queue import Queue, batches
from tests.counterexamples.stage import HandClock
from tests.points.oracle import Oracle
from tests.points.wire import Died, Wire, WiredLink, WiredStore

KINDS: dict[type, str] = {Done: "done", Retry: "retry", Bury: "bury", Drop: "drop", Release: "release"}
MOMENT = 0.001
"""Seconds that a pass takes at the least."""


class Stage(Protocol):
    """What actors need of the world around them."""

    @property
    def app(self) -> Reliq:
        """The application whose jobs run."""

    @property
    def config(self) -> Config:
        """The settings of everybody."""

    @property
    def clock(self) -> HandClock:
        """What everybody goes by."""

    @property
    def oracle(self) -> Oracle:
        """Who judges."""

    @property
    def aftermath(self) -> str:
        """How the fleet learns of a death."""

    def wire(self, name: str) -> Wire:
        """A way to the server for a new actor."""


class _Over(BaseException):
    """The passes that were asked for are over: the loop hands control back."""


class _Memory:
    """Shared memory that nobody shares."""

    @staticmethod
    def RawArray(kind: Any, size: int) -> Any:  # noqa: N802 - multiprocessing's name
        return (kind * size)()


class _Ears:
    """Hears the words of a test, and doorbells; moves the clock instead of waiting."""

    def __init__(self, owner: "Process") -> None:
        self._owner = owner

    def wake(self) -> None:
        """Nobody waits."""

    def listen(self, bells: Sequence[Any], pause: float) -> Heard:
        owner = self._owner
        if owner.passes == 0:
            raise _Over
        owner.passes -= 1
        heard = Heard(rung=[bell for bell in bells if bell.link.readable()], orphaned=owner.take_orphaned())
        while owner.words:
            heard.words.append(owner.words.popleft())
        busy = heard.rung or heard.words or heard.orphaned or owner.bench.ready
        owner.clock.now += MOMENT if busy else max(pause, MOMENT)
        return heard

    def say(self, *message: Any) -> None:
        self._owner.pod.hear(*message)

    def close(self) -> None:
        """Nothing to let go of."""


class _Pace:
    """A pace of one millisecond for every job."""

    def mean(self, *_: object) -> float:
        return MOMENT

    def wall(self, _: float, jobs: int) -> float:
        return jobs * MOMENT

    def ahead(self, _: int, budget: float) -> int:
        return max(0, round(budget / MOMENT))

    def expect(self, *_: object) -> float:
        return MOMENT

    def learn(self, *_: object) -> None:
        """It knows all it will ever know."""


class Bench:
    """Stands in for the threads. With `holds` a run goes on until `finish`, else it ends with the next pass."""

    backlog = 0.0

    def __init__(self, owner: "Process", concurrency: int, handlers: Handlers, probe: Any, **calls: Any) -> None:
        self.holds = owner.holds
        self.concurrency = concurrency
        self._owner, self._handlers, self._probe = owner, handlers, probe
        self._record, self._may_start = calls["record"], calls["may_start"]
        self._line: deque[Run] = deque()
        self._running: dict[int, tuple[Run, Ending]] = {}
        self._done: list[int] = []

    @property
    def held(self) -> int:
        return len(self._running) + len(self._line)

    @property
    def waiting(self) -> int:
        return len(self._line)

    @property
    def busy(self) -> int:
        return len(self._running)

    @property
    def free(self) -> int:
        return max(0, self.concurrency - self.held)

    @property
    def full(self) -> bool:
        return len(self._running) >= self.concurrency

    @property
    def ready(self) -> bool:
        """Whether a run has ended that nobody has collected."""
        return bool(self._done) or (not self.holds and bool(self._running))

    def due(self, *_: object) -> int:
        return len(self._running)

    def runs(self) -> list[Run]:
        return [run for run, _ in self._running.values()]

    def push(self, runs: Sequence[Run]) -> None:
        self._line.extend(runs)
        self.nudge()

    def nudge(self, *_: object) -> None:
        while self._line and not self.full and self._may_start():
            run = self._line.popleft()
            run.begun = time.monotonic()
            ending = run.go(self._handlers, self._probe, self._record, cast(Any, None))
            if run.job is not None:
                run._thread = id(run)  # one that cannot be read never gets a thread: it is not shown as running
            self._running[id(run)] = run, ending

    def take_back(self, since_before: float = math.inf) -> list[Run]:
        taken = []
        while self._line and self._line[0].since < since_before:
            taken.append(self._line.popleft())
        return taken

    def collect(self) -> list[tuple[Run, Ending]]:
        found = []
        for key in list(self._running) if not self.holds else self._done:
            run, ending = self._running.pop(key)
            run._thread = None
            self._owner.oracle.ended(run.claim.identity, ending.jid, KINDS[type(ending.outcome)])
            found.append((run, ending))
        self._done = []
        self.nudge()
        return found

    def finish(self, number: int = 0) -> None:
        """Let one of the running jobs end, whatever it comes to."""
        open_ = [key for key in self._running if key not in self._done]
        if open_:
            self._done.append(open_[number % len(open_)])

    def interrupt(self, _: type) -> int:
        """Every job unwinds at once."""
        for key, (run, ending) in self._running.items():
            if key not in self._done:
                self._running[key] = run, Ending(run.claim, Release(), ending.jid)
                self._done.append(key)
        return len(self._running)

    def expire(self, now: float) -> None:
        """No job of ours has a timeout."""

    def stop(self, _: float) -> bool:
        return True

    def stacks(self) -> str:
        return ""


class _OwnHeart(Heartbeat):
    """The heart of a process whose supervisor has died, without a thread."""

    def start(self) -> None:
        """The pod ticks it."""

    def join(self, within: float = 5.0) -> bool:  # noqa: ARG002 - the signature of Service
        self.close()
        return True


class Pod:
    """A supervisor and its one child: beats for it, hears it, and gets its jobs back when it has died."""

    def __init__(self, stage: Stage, name: str, *queues: str, **options: Any) -> None:
        self.stage = stage
        self.wire = stage.wire(f"{name}'s supervisor")
        store = WiredStore(stage.config, self.wire)
        self.heart = Heartbeat(store, stage.clock, lambda *_: None)
        self.recovery = Recovery(store)
        self.entry: Entry | None = None
        self.frozen = False
        self.child_left = False
        self.told_to_stop = False
        self.recovered = False
        self.orphan: tuple[Entry, str, list[str]] | None = None
        self._beats_at = 0.0
        self.child = Process(stage, name, self, queues or ("default",), **options)

    @property
    def alive(self) -> bool:
        """Whether the supervisor lives."""
        return not self.wire.dead

    @property
    def works(self) -> bool:
        """Whether the child can take a step."""
        return self.child.alive and not self.frozen

    def hear(self, word: str, *more: Any) -> None:
        """What a supervisor does about a word of its child."""
        if self.wire.dead:
            return
        if word == "ready":
            epoch, self.entry = more
            assert self.entry is not None
            self.heart.add(Patient(self.entry, epoch, self.child.board, {}))
        elif word == "left":
            self.child_left = True

    def beat(self, *, now: bool = False) -> None:
        """Beat if it is time."""
        clock = self.stage.clock
        if self.frozen or (not now and clock.now < self._beats_at):
            return
        own = self.child.worker._own_heart
        if self.alive:
            beaten = self.wire.once(lambda: guarded(self.heart.tick))
        else:
            beaten = own is not None and self.child.alive and guarded(own.tick, died=self.child.died)
        if beaten:
            self._beats_at = clock.now + self.stage.config.beat

    def after_death(self) -> None:
        """What a supervisor does about the death of its child, until it has succeeded."""
        if not self.alive or self.frozen:
            return
        if self.orphan is None and self.entry is not None and not self.child_left:
            entry = self.entry
            counter = self.heart.drop(entry.identity)
            entry = attrs.evolve(entry, stopping=entry.stopping or self.told_to_stop)
            self.orphan = entry, counter, self.child.board.started()
        if self.orphan is not None and not self.recovered:
            entry, counter, started = self.orphan
            die = partial(self.recovery.child_died, entry, counter, started, "was killed")
            self.recovered = self.wire.once(lambda: guarded(die))

    def tell_to_stop(self, timeout: float) -> None:
        """Say the word."""
        self.told_to_stop = True
        self.stage.oracle.lives[self.child.identity].told = True
        self.child.words.append(("stop", timeout))

    def retire(self) -> None:
        """Let it leave for want of jobs: nobody calls that a stop."""
        self.child.words.append(("stop", math.inf))

    def close(self) -> None:
        """Close all connections."""
        for wire in (self.wire, self.child.wire):
            for link in wire.links:
                link.close()


class Process:
    """One worker process."""

    def __init__(
        self,
        stage: Stage,
        name: str,
        pod: Pod,
        queues: Sequence[str],
        *,
        concurrency: int = 2,
        quarantine: bool = False,
        holds: bool = False,
        ahead: int = 0,
    ) -> None:
        self.pod = pod
        self.stage = stage
        self.clock = stage.clock
        self.oracle = stage.oracle
        self.wire = stage.wire(name)
        self.passes = 0
        self.words: deque[tuple[Any, ...]] = deque()
        self.holds = holds
        self.over = False
        self.crashed = False
        self._told_orphaned = False
        worker = WorkerConfig(
            app="-", queues=tuple(map(QueueOption, queues)), concurrency=concurrency, prefetch=ahead * MOMENT
        )
        role = Role(worker=worker, version="0", quarantine=quarantine)
        self.board = Board(allocate(cast(Any, _Memory), role.concurrency))
        with patch.multiple(
            process,
            Store=lambda config: WiredStore(config, self.wire),
            SystemClock=lambda: stage.clock,
            Ears=_Ears,
            Threads=partial(Bench, self),
        ):
            self.worker = Worker(stage.app, stage.config, role, cast(Any, self), self.board)
        self.worker._intake._pace = cast(Any, _Pace())
        self.bench = cast(Bench, cast(Any, self.worker._threads))

    @property
    def alive(self) -> bool:
        """Whether it runs and has not left."""
        return not self.crashed and not self.over

    @property
    def identity(self) -> str:
        """Who it is now."""
        return self.worker.identity

    def step(self, passes: int = 1) -> None:
        """Let the loop make so many passes."""
        if self.alive and not self.pod.frozen:
            self.wire.once(partial(self._step, passes))

    def _step(self, passes: int) -> bool:
        self.passes = passes
        with patch.object(heartbeat, "Heartbeat", _OwnHeart) if self.pod.wire.dead else nullcontext():
            try:
                self.worker.run()
                self.over = True
            except _Over:
                pass
            except Died:
                self.died()
        return True

    def at_rest(self) -> bool:
        """Whether the next pass has nothing to do but wait."""
        worker = self.worker
        leaves = worker._stop_at is not None and worker._held() == 0
        todo = (self.words, self.bench.ready, self.bench.waiting, worker._broken, worker._endings)
        return worker._announced and not (any(todo) or worker._fetch.suspicious or leaves)

    def died(self) -> None:
        """The process is dead; with its whole pod, if nobody is to see it die."""
        self.crashed = True
        if self.stage.aftermath != "child":
            self.pod.wire.die()
        self.oracle.lives[self.identity].out_of_reach = True

    def kill(self) -> None:
        """SIGKILL, between two commands."""
        self.wire.die()
        self.died()

    def ring_out(self, client: Any) -> None:
        """Let the time of its doorbells run out in the server."""
        for bell in self.worker._fetch.sockets():
            link = cast(WiredLink, cast(Any, bell).link)
            if not link.broken and not link.wire.cut and link.client_id is not None:
                client.execute_command("CLIENT", "UNBLOCK", link.client_id, "TIMEOUT")
        client.ping()  # a round trip later the replies are there

    def take_orphaned(self) -> bool:
        """Whether the end of the pipe is news."""
        news = self.pod.wire.dead and not self._told_orphaned
        self._told_orphaned |= news
        return news


class Duty:
    """A reaper or a promoter: ticks, and passes over what fails."""

    def __init__(self, stage: Stage, name: str, make: Callable[..., Reaper | Promoter]) -> None:
        self.wire = stage.wire(name)
        self.service = make(WiredStore(stage.config, self.wire), stage.clock)
        self.frozen = False

    @property
    def alive(self) -> bool:
        """Whether its process lives."""
        return not self.wire.dead

    def tick(self) -> float | None:
        """Tick once; the seconds until the next time, None if it failed."""
        pause: float | None = None

        def tick() -> None:
            nonlocal pause
            pause = self.service.tick()

        if self.alive and not self.frozen:
            self.wire.once(lambda: guarded(tick))
        return pause

    def close(self) -> None:
        """Close the connection."""
        for link in self.wire.links:
            link.close()


class Producer:
    """Enqueues. `acked` are the jobs, by jid, whose call has returned."""

    def __init__(self, stage: Stage, name: str) -> None:
        self.wire = stage.wire(name)
        self.acked: list[str] = []
        self._oracle = stage.oracle
        self._store = WiredStore(stage.config, self.wire)
        self._queue = Queue(self._store)

    def enqueue(self, queue: str, *payloads: bytes) -> None:
        """Push, as one call."""
        self._send(payloads, lambda: self._queue.enqueue(queue, payloads))

    def enqueue_many(self, queue: str, *payloads: bytes) -> None:
        """Push two by two, where the real limit is a thousand."""
        with patch("reliq.store.queue.BATCH_ITEMS", 2):
            for batch in batches(payloads):
                self._send(batch, partial(self._queue.enqueue, queue, batch))

    def schedule(self, at: float, *payloads: bytes) -> None:
        """Schedule, as one call."""
        self._send(payloads, lambda: self._queue.schedule([(at, payload) for payload in payloads]))

    def _send(self, payloads: Sequence[bytes], call: Callable[[], None]) -> None:
        jids = [self._oracle.story_of(payload) for payload in payloads]
        for jid in jids:
            self._oracle.stories[jid].wanted += 1
        # Waiting between two resends is not what is looked at.
        with patch("tenacity.nap.time.sleep"), suppress(Died, Unreachable):
            call()
            self.acked += jids

    def close(self) -> None:
        """Close the connections."""
        for link in self.wire.links:
            link.close()


def guarded(duty: Callable[[], object], died: Callable[[], None] = lambda: None) -> bool:
    """Do a duty once, as the thread or the loop that has it; True if it succeeded."""
    try:
        duty()
    except StoreError:
        return False
    except Died:
        died()
        return False
    return True
