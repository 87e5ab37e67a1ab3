"""The machine: several actors on one server, whose steps and troubles Hypothesis puts into any order it likes.

After every step the oracle has judged each command; in the end all trouble is over, every job finishes, all leave, and
nothing is left. A failure prints its steps as a program and shrinks to few of them.
"""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.counterexamples import stage
from tests.points.actors import Duty, Pod
from tests.points.points import silence
from tests.points.wire import Command, Fault, Mode, Wire
from tests.points.world import Kit, World

QUEUES = ("default", "other")
MOST_PODS = 4
MOST_JOBS = 12

PLANS: dict[str, tuple[str, bool | int, str]] = {
    "done": (".", True, "done"),
    "done at the second attempt": ("f.", True, "done"),
    "buried": ("f", 0, "dead"),
    "buried at the second attempt": ("ff", 1, "dead"),
    "dropped": ("f", False, "dropped"),
}
"""Plan, `retry`, and what must become of the job."""

STRIKES = {
    "lost": Fault(Mode.LOST),
    "cut": Fault(Mode.CUT),
    "late": Fault(Mode.LATE),
    "stray": Fault(Mode.STRAY),
    "stray soon": Fault(Mode.STRAY, 2),
    "dies before": Fault(Mode.BEFORE),
    "dies after": Fault(Mode.AFTER),
    "stands still before": Fault(Mode.FROZEN),
    "stands still after": Fault(Mode.STALLED),
}

which = st.integers(0, 3)
"""One of several, modulo how many there are."""


class Interleavings(RuleBasedStateMachine):
    """The fleet, moved by Hypothesis."""

    def __init__(self, kit: Kit) -> None:
        super().__init__()
        self._silence = silence()
        self._silence.__enter__()
        self.world = World(kit)
        self.world.tap.strike = self._strike
        self._armed: dict[Wire, tuple[int, Fault]] = {}
        self._broken: AssertionError | None = None

    @initialize()
    def begin(self) -> None:
        world = self.world
        for ahead in (0, 2):
            world.pod(*QUEUES, holds=True, ahead=ahead)
            world.reaper()
        world.promoter()
        world.producer()

    def _strike(self, wire: Wire, command: Command) -> Fault | None:
        if wire not in self._armed or self.world.asleep:
            return None
        left, fault = self._armed.pop(wire)
        if left:
            self._armed[wire] = left - 1, fault
            return None
        self.world.tap.trace.append(f"## {wire.name}: {fault.mode} strikes {self.world.name_of(command)}")
        return fault

    def _pod(self, number: int, fits: Callable[[Pod], bool]) -> Pod | None:
        pods = [pod for pod in self.world.pods if fits(pod)]
        return pods[number % len(pods)] if pods else None

    def _moving(self, number: int) -> Pod | None:
        return self._pod(number, lambda pod: pod.works)

    # -- producers

    @precondition(lambda self: len(self.world.oracle.stories) < MOST_JOBS)
    @rule(plan=st.sampled_from(sorted(PLANS)), queue=st.sampled_from(QUEUES), copies=st.sampled_from((1, 1, 1, 2)))
    def enqueue(self, plan: str, queue: str, copies: int) -> None:
        text, retry, fate = PLANS[plan]
        job = self.world.job(text, queue=queue, retry=retry, fate=fate)
        self._producer().enqueue(queue, *[job] * copies)

    @precondition(lambda self: len(self.world.oracle.stories) < MOST_JOBS)
    @rule(plan=st.sampled_from(sorted(PLANS)), queue=st.sampled_from(QUEUES))
    def schedule(self, plan: str, queue: str) -> None:
        text, retry, fate = PLANS[plan]
        self._producer().schedule(1.0, self.world.job(text, queue=queue, retry=retry, fate=fate))

    @precondition(lambda self: len(self.world.oracle.stories) < MOST_JOBS)
    @rule(queue=st.sampled_from(QUEUES))
    def enqueue_what_cannot_be_read(self, queue: str) -> None:
        self._producer().enqueue(queue, self.world.unreadable())

    def _producer(self) -> Any:
        if self.world.producers[-1].wire.dead:
            self.world.producer()
        return self.world.producers[-1]

    # -- worker processes

    @rule(number=which, passes=st.integers(1, 4))
    def step(self, number: int, passes: int) -> None:
        if pod := self._moving(number):
            pod.child.step(passes)

    @rule(number=which, run=which)
    def let_a_run_end(self, number: int, run: int) -> None:
        if pod := self._pod(number, lambda pod: pod.child.bench.busy > 0):
            pod.child.bench.finish(run)

    @rule(number=which)
    def doorbells_run_out(self, number: int) -> None:
        if pod := self._moving(number):
            pod.child.ring_out(self.world.client)

    @rule(number=which, seconds=st.sampled_from((0.0, 20.0)))
    def stop(self, number: int, seconds: float) -> None:
        if pod := self._moving(number):
            pod.tell_to_stop(seconds)

    @precondition(lambda self: len(self.world.pods) < MOST_PODS)
    @rule(quarantine=st.booleans())
    def start(self, quarantine: bool) -> None:
        self.world.pod(*QUEUES, holds=True, running=False, quarantine=quarantine)

    @rule(number=which)
    def crash(self, number: int) -> None:
        if pod := self._pod(number, lambda pod: pod.child.alive):
            pod.child.kill()

    @rule(number=which)
    def freeze_or_thaw(self, number: int) -> None:
        if pod := self._pod(number, lambda pod: pod.child.alive):
            pod.frozen = not pod.frozen
            self.world.oracle.lives[pod.child.identity].out_of_reach = True

    @rule(number=which)
    def cut_off_or_heal(self, number: int) -> None:
        if pod := self._pod(number, lambda pod: pod.child.alive):
            pod.wire.cut = pod.child.wire.cut = not pod.wire.cut
            self.world.oracle.lives[pod.child.identity].out_of_reach = True

    # -- supervisors, reapers, promoters

    @rule(number=which)
    def beat(self, number: int) -> None:
        if pod := self._pod(number, lambda pod: not pod.frozen):
            pod.beat(now=True)

    @rule(number=which)
    def recover_the_child(self, number: int) -> None:
        if pod := self._pod(number, lambda pod: pod.child.crashed and pod.alive):
            pod.after_death()

    @rule(number=which)
    def supervisor_dies(self, number: int) -> None:
        if pod := self._pod(number, lambda pod: pod.alive):
            pod.wire.die()

    @rule(number=which)
    def reap(self, number: int) -> None:
        duties = [one for one in self.world.reapers if one.alive] or [self.world.reaper()]
        duties[number % len(duties)].tick()

    @rule()
    def promote(self) -> None:
        self._promoter().tick()

    def _promoter(self) -> Duty:
        return self.world.spare_promoter()

    # -- time

    @rule(seconds=st.sampled_from((0.3, 1.0, 3.0)))
    def time_passes(self, seconds: float) -> None:
        self.world.time_passes(seconds)

    @rule()
    def due_times_come(self) -> None:
        self.world.clock.ahead += 400.0
        self.world.client.delete("lease:promote")
        self.world.time_passes(5.0)

    @rule(number=which)
    def a_heartbeat_runs_out(self, number: int) -> None:
        """That of somebody out of reach; who was missed before has been watched all the time."""
        self.world.look()
        if lost := self.world.lost():
            identity = lost[number % len(lost)]
            watched = identity in self.world.now.suspects
            self.world.run_out(identity)
            if watched and identity in self.world.look().suspects:
                stage.age_watch(self.world.client, identity, 10.0, 0.1)

    @rule(number=which)
    def two_beats_are_missed(self, number: int) -> None:
        """By somebody out of reach, whose heartbeat is still there."""
        self.world.look()
        if lost := self.world.lost():
            self.world.time_passes(5.0)
            stage.age_beat(self.world.client, lost[number % len(lost)], 5.0)

    # -- the server and the way to it

    @rule()
    def scripts_are_forgotten(self) -> None:
        self.world.forget_scripts()

    @rule()
    def connections_are_closed(self) -> None:
        self.world.close_connections()

    @rule()
    def outage(self) -> None:
        """Nobody reaches the server, for longer than any heartbeat lives."""
        self.world.outage()

    @rule(number=st.integers(0, 11), kind=st.sampled_from(sorted(STRIKES)), after=st.integers(0, 4))
    def strike(self, number: int, kind: str, after: int) -> None:
        """Something happens to one of the next commands of some actor."""
        wires = [wire for wire in self.world.tap.wires if not wire.dead and not wire.cut]
        self._armed[wires[number % len(wires)]] = after, STRIKES[kind]

    @rule(
        name=st.sampled_from(("turn", "reconcile", "condemn", "reap", "CLIENT", "leave", "promote", "suspect")),
        what=st.sampled_from(("push", "reap", "beat", "step", "thaw")),
        number=which,
    )
    def in_between(self, name: str, what: str, number: int) -> None:
        """Somebody else takes a step just before the next command of this name."""
        steps: dict[str, Callable[[int], None]] = {
            "push": lambda number: self.world.push(self.world.job(queue=QUEUES[number % 2]), queue=QUEUES[number % 2]),
            "reap": self.reap,
            "beat": self.beat,
            "step": lambda number: self.step(number, 1),
            "thaw": self.freeze_or_thaw,
        }
        self.world.just_before(name, lambda: steps[what](number))

    @rule()
    def what_is_late_arrives(self) -> None:
        self.world.tap.deliver()

    # -- judging

    @invariant()
    def nothing_was_found(self) -> None:
        try:
            self.world.check()
        except AssertionError as error:
            self._broken = error
            raise

    def teardown(self) -> None:
        try:
            if self._broken is None:
                self.world.finish()
        finally:
            self.world.__exit__(None, None, None)
            self._silence.__exit__(None, None, None)
