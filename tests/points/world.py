"""The world of one case: a server, actors, the oracle; and how the fleet gets everything done after a fault."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, Self

import redis

from reliq.app import Reliq
from reliq.attempt import current_attempt
from reliq.config import Config
from reliq.job import encode, new_jid
from reliq.server.promoter import Promoter
from reliq.server.reaper import Reaper
from reliq.store.keys import FENCED
from reliq.store.scripts import Library
from tests.counterexamples import stage
from tests.points.actors import Duty, Pod, Producer
from tests.points.calls import Reader
from tests.points.census import Census, Enumerator
from tests.points.oracle import Oracle, Violation
from tests.points.wire import Command, Tap, Wire
from tests.support.leaks import foreign_keys

Aftermath = Literal["child", "power", "shortcut"]
"""How the fleet learns of a process's death: its supervisor sees it; the machine lost power, so that even its
connections stay open (the TTL path); or its pod died, and a reaper sees that its connections are gone.
"""

ROUNDS = 25
"""How often everybody may take his turn until all jobs must have ended."""


class Clock(stage.HandClock):
    """A clock moved by hand, whose wall can be ahead."""

    ahead = 0.0

    def wall(self) -> float:
        return time.time() + self.ahead


class Kit:
    """What cases share: one connection for looking, and the scripts."""

    def __init__(self, url: str, client: redis.Redis, library: Library | None = None) -> None:
        self.url = url
        self.client = client
        """With one connection only."""
        self.library = library or Library.load()
        self.enumerator = Enumerator(client)
        self.teach()

    def teach(self) -> None:
        """Let the server know all scripts."""
        for text in self.library.texts.values():
            self.client.script_load(text)


class World:
    """One case's server, emptied, and who lives in it."""

    def __init__(self, kit: Kit) -> None:
        self.kit, self.client = kit, kit.client
        self.aftermath: Aftermath = "child"
        # Ample times: nothing runs out by itself while a case lasts; `reap_by_watch` and the like make it run out.
        self.config = Config(url=kit.url, resend_for=1.0)
        self.clock = Clock()
        self.oracle = Oracle()
        self.oracle.up = self._is_up
        self.tap = Tap(kit.client, kit.library)
        self.tap.witness = self._witness
        self.tap.freeze = self.stand_still
        self.tap.sending = self.sending
        self._reader = Reader(kit.library)
        self.pods: list[Pod] = []
        self.reapers: list[Duty] = []
        self.promoters: list[Duty] = []
        self.producers: list[Producer] = []
        self.asleep: list[Wire] = []
        self._surprises: list[tuple[str, Callable[[], None]]] = []
        self._numbers = 0
        self._forgetful = False
        self.client.flushall()
        self.now = Census.empty()
        self.app = Reliq(kit.url, config=self.config)
        self.app.job(self._job())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for actors in (self.pods, self.reapers, self.promoters, self.producers):
            for actor in actors:
                actor.close()
        self.tap.close()
        if self._forgetful:
            self.kit.teach()
        # What waits in the server for a connection that was closed just now must not see the next case.
        self.close_connections()

    def close_connections(self) -> None:
        """Let the server close every connection but the one that looks."""
        self.client.client_kill_filter(_type="normal", skipme=True)

    # -- actors

    def wire(self, name: str) -> Wire:
        """A way to the server for a new actor."""
        self.tap.wires.append(Wire(self.tap, name))
        return self.tap.wires[-1]

    def pod(self, *queues: str, running: bool = True, **options: Any) -> Pod:
        """A pod with one worker process, at rest; not `running`: about to start."""
        pod = Pod(self, f"worker {len(self.pods) + 1}", *queues, **options)
        self.pods.append(pod)
        if running:
            self.work(pod)
        return pod

    def reaper(self) -> Duty:
        """Another reaper."""
        self.reapers.append(Duty(self, f"reaper {len(self.reapers) + 1}", Reaper))
        return self.reapers[-1]

    def promoter(self) -> Duty:
        """Another promoter."""
        self.promoters.append(Duty(self, f"promoter {len(self.promoters) + 1}", Promoter))
        return self.promoters[-1]

    def producer(self) -> Producer:
        """Another producer."""
        self.producers.append(Producer(self, f"producer {len(self.producers) + 1}"))
        return self.producers[-1]

    # -- jobs

    def _job(self) -> Callable[..., None]:
        oracle = self.oracle

        def work(number: int, plan: str) -> None:
            """Ends as the plan says, one letter for each attempt: `.` well, `f` badly."""
            attempt = current_attempt()
            oracle.began(attempt.identity, attempt.jid)
            if plan[min(attempt.attempt, len(plan)) - 1] == "f":
                raise RuntimeError(f"job {number}, attempt {attempt.attempt}")

        return work

    def job(self, plan: str = ".", *, queue: str = "default", retry: bool | int = True, fate: str = "done") -> bytes:
        """A job that is nowhere yet."""
        self._numbers += 1
        payload = encode("work", [self._numbers, plan], {}, jid=new_jid(), queue=queue, retry=retry, now=time.time())
        self.oracle.born(payload, fate)
        return payload

    def unreadable(self) -> bytes:
        """A payload that is no job."""
        self._numbers += 1
        payload = b'{"class": "work", "args": [%d' % self._numbers
        self.oracle.born(payload, "dead")
        return payload

    def push(self, *payloads: bytes, queue: str = "default") -> None:
        """Let jobs be in a queue, by some producer that nothing happens to."""
        stage.push(self.client, *payloads, queue=queue)
        self._came(payloads)

    def schedule(self, *payloads: bytes, key: str = "schedule", at: float = 1.0) -> None:
        """Let jobs wait for their time, which has come."""
        self.client.zadd(key, dict.fromkeys(payloads, at))
        self._came(payloads)

    def _came(self, payloads: tuple[bytes, ...]) -> None:
        for payload in payloads:
            story = self.oracle.stories[self.oracle.story_of(payload)]
            story.wanted += 1
            story.copies += 1
            story.causes += 1
        self.look()

    def forget_scripts(self) -> None:
        """Let the server be one that knows no script, for the rest of the case."""
        self.client.script_flush()
        self._forgetful = True

    def just_before(self, name: str, surprise: Callable[[], None]) -> None:
        """Let something happen just before the next command of this name is sent, by whomever."""
        self._surprises.append((name, surprise))

    def sending(self, command: Command) -> None:
        """Somebody is about to send this."""
        if self._surprises:
            name = self.name_of(command)
            due = [surprise for surprise in self._surprises if surprise[0] == name]
            for surprise in due[:1]:
                self._surprises.remove(surprise)
                surprise[1]()

    def name_of(self, command: Command) -> str:
        """The script's name, or the command's own."""
        return self._reader.name(command)

    # -- looking

    def look(self) -> Census:
        """Take a census that no command is held against."""
        self.now = self.kit.enumerator.take()
        return self.now

    def _witness(self, wire: Wire, command: Command, reply: Any) -> None:
        call = self._reader.read(wire.name, command, reply)
        self.tap.trace.append(call)
        if call.reads:
            return
        before, after = self.now, self.look()
        wire.moves += before.places != after.places
        found = len(self.oracle.violations)
        self.oracle.applied(call, before, after)
        self.tap.trace += [f"   !! {what}" for what in self.oracle.violations[found:]]

    def check(self) -> None:
        """Raise if anything was found so far."""
        if self.oracle.violations:
            raise Violation(
                "\n".join([*self.oracle.violations, "", "The last commands:", *map(str, self.tap.trace[-120:])])
            )

    def _is_up(self, identity: str) -> bool:
        return any(pod.child.identity == identity and pod.works and not pod.wire.cut for pod in self.pods)

    def lost(self) -> list[str]:
        """Identities in the walk whose process is out of reach, without a verdict yet."""
        census = self.now
        return [
            identity
            for identity in census.beats
            if not census.fenced(identity) and self.oracle.lives[identity].out_of_reach
        ]

    # -- taking turns

    def work(self, pod: Pod, passes: int = 60) -> None:
        """Let a worker process make passes until it has nothing to do but wait."""
        calm = 0
        for _ in range(passes):
            pod.beat()
            if not pod.works or calm == 2:
                return
            moves = pod.child.wire.moves
            pod.child.step()
            calm = calm + 1 if pod.child.wire.moves == moves and pod.child.at_rest() else 0

    def time_passes(self, seconds: float) -> None:
        """Let time pass for everybody who can beat."""
        self.clock.now += seconds
        for pod in self.pods:
            pod.beat()

    def reap_by_watch(self, *identities: str, reaper: Duty | None = None) -> None:
        """Let the heartbeats of these run out, and a reaper watch for as long as it takes."""
        reaper = reaper or self.spare_reaper()
        self.run_out(*identities)
        for _ in range(6):
            reaper.tick()
            self.age_watches()
            self.time_passes(100.0)
            if all(self.now.fenced(identity) and identity not in self.now.private for identity in identities):
                return

    def run_out(self, *identities: str) -> None:
        """Let the heartbeats of these run out."""
        for identity in identities:
            if not self.now.fenced(identity):
                stage.expire(self.client, identity)
            stage.age_beat(self.client, identity, 30.0)
        self.time_passes(30.0)
        self.look()

    def outage(self) -> None:
        """For a minute nobody reaches the server; all connections end, and all heartbeats run out."""
        before = {wire: wire.cut for wire in self.tap.wires}
        for wire in before:
            wire.cut = True
        self.time_passes(60.0)
        for pod in self.pods:
            pod.child.step()
        for duty in [*self.reapers, *self.promoters]:
            duty.tick()
        for wire, cut in before.items():
            wire.cut = cut
        for identity, heart in self.look().hearts.items():
            if heart != FENCED:
                stage.expire(self.client, identity)
        for identity in self.now.beats:
            stage.age_beat(self.client, identity, 60.0)
        for identity in self.now.suspects:
            stage.age_watch(self.client, identity, 70.0, 60.0)
        self.look()

    def age_watches(self) -> None:
        """Let those who are missing have been watched for long enough, without a gap.

        Not those in reach: they would have beaten meanwhile.
        """
        for identity in self.look().suspects:
            if self.oracle.lives[identity].out_of_reach:
                stage.age_watch(self.client, identity, 10.0, 0.1)

    def reap_by_shortcut(self, *identities: str, reaper: Duty | None = None) -> None:
        """Let a reaper see that two beats are missing, and all connections gone."""
        reaper = reaper or self.spare_reaper()
        reaper.tick()
        self.time_passes(2 * self.config.least_confirm)
        for identity in identities:
            stage.age_beat(self.client, identity, 5.0)
        for _ in range(2):
            reaper.tick()
            self.time_passes(100.0)

    def spare_reaper(self) -> Duty:
        """A reaper that lives and moves; a new one if there is none."""
        return next((reaper for reaper in self.reapers if reaper.alive and not reaper.frozen), None) or self.reaper()

    def spare_promoter(self) -> Duty:
        """A promoter that lives and moves."""
        return next((one for one in self.promoters if one.alive and not one.frozen), None) or self.promoter()

    def promote(self, promoter: Duty | None = None) -> None:
        """Let every waiting job's time come, the leadership of whoever led end, and a promoter tick until done."""
        promoter = promoter or self.spare_promoter()
        self.clock.ahead += 400.0
        for _ in range(6):
            if promoter.tick() == 0.0:
                continue
            if not self.look().waiting("schedule", "retry"):
                return
            self.client.delete("lease:promote")
            self.time_passes(10.0)

    def stand_still(self, wire: Wire) -> None:
        """An actor stands still for longer than anybody waits; the others go on."""
        pod = next((pod for pod in self.pods if wire in {pod.wire, pod.child.wire}), None)
        duty = next((duty for duty in [*self.reapers, *self.promoters] if duty.wire is wire), None)
        frozen = pod or duty
        if frozen is not None:
            frozen.frozen = True
        if pod is not None:
            self.oracle.lives[pod.child.identity].out_of_reach = True
        self.asleep.append(wire)
        for _ in range(3):
            self.round()
            if not self.now.waiting("queue:", "quarantine:", "schedule", "retry") and not self.lost():
                break
        self.asleep.remove(wire)
        if frozen is not None:
            frozen.frozen = False

    # -- the end

    def round(self) -> None:
        """Everybody takes his turn once."""
        for pod in self.pods:
            if pod.child.crashed:
                if self.aftermath == "child":
                    pod.after_death()
                else:
                    pod.wire.die()
        self._bury_the_dead()
        if self.now.waiting("schedule", "retry"):
            self.promote()
        self._rescue()
        for pod in list(self.pods):
            self.work(pod)
            if pod.works:
                pod.child.ring_out(self.client)
                self.work(pod)
        if any(self.now.fenced(identity) for identity in self.now.private):
            self._walk()
        self.look()

    def _bury_the_dead(self) -> None:
        if self.aftermath == "shortcut" and (lost := self.lost_for_good()):
            self.reap_by_shortcut(*lost)
        if lost := self.lost_for_good():
            self.reap_by_watch(*lost)

    def lost_for_good(self) -> list[str]:
        """Those out of reach whom their own supervisor does not care for."""
        cared = {
            pod.child.identity
            for pod in self.pods
            if pod.child.crashed
            and pod.alive
            and not pod.frozen
            and pod.entry
            and pod.entry.identity == pod.child.identity
        }
        self.look()
        return [identity for identity in self.lost() if identity not in cared]

    def _rescue(self) -> None:
        able = [pod for pod in self.pods if pod.works and pod.alive and not pod.told_to_stop]
        queues = sorted({name.split(":", 1)[1] for name in self.now.places if name.startswith("queue:")})
        if queues and not any(set(queues) <= set(_queues(pod)) and not _nurse(pod) for pod in able):
            self.pod(*queues)
        wards = sorted({name.split(":", 1)[1] for name in self.now.places if name.startswith("quarantine:")})
        if wards and not any(set(wards) <= set(_queues(pod)) and _nurse(pod) for pod in able):
            self.pod(*wards, quarantine=True)

    def _walk(self) -> None:
        reaper = self.spare_reaper()
        for identity in self.now.private:
            if self.now.fenced(identity):
                stage.age_beat(self.client, identity, 30.0)
        for _ in range(2):
            self.time_passes(1000.0)
            reaper.tick()

    def done(self, late_when_left: bool = False) -> bool:
        """Whether every job has ended, and nobody is between life and death."""
        census = self.look()
        return set(census.places) <= {"dead"} and not self.lost() and (late_when_left or not self.tap.late)

    def heal(self) -> None:
        """End all trouble."""
        self.tap.strike = lambda wire, command: None
        self._surprises.clear()
        for pod in self.pods:
            pod.frozen = pod.wire.cut = pod.child.wire.cut = pod.child.bench.holds = False
        for duty in [*self.reapers, *self.promoters]:
            duty.frozen = duty.wire.cut = False

    def finish(self, *, late_when_left: bool = False) -> None:
        """Let all jobs end and everybody leave; then nothing may be left.

        What is late arrives before that, or when all have left.
        """
        self.heal()
        for _ in range(ROUNDS):
            if not late_when_left:
                self.tap.deliver()
            self.round()
            if self.done(late_when_left) or self.oracle.violations:
                break
        else:
            self.oracle.find(f"not done after {ROUNDS} rounds: {self.now.places}, in doubt: {self.lost()}")
        self.check()
        self.tap.forgive()
        self._leave()
        self.check()
        self._forget()
        for producer in self.producers:
            for jid in producer.acked:
                if self.oracle.stories[jid].copies != self.oracle.stories[jid].wanted:
                    self.oracle.find(f"{jid} was acknowledged, and did not come")
        self.oracle.close(self.now)
        self.oracle.violations += foreign_keys(self.now.as_client())
        self.check()

    def _leave(self) -> None:
        for pod in self.pods:
            if pod.works:
                pod.tell_to_stop(0.0)
                self.work(pod)
            if pod.child.alive:
                self.oracle.find(f"{pod.child.identity} did not leave")

    def _forget(self) -> None:
        self.tap.deliver()
        self.look()
        self._walk()
        for identity in self.look().beats:
            stage.age_beat(self.client, identity, 3600.0)
        for _ in range(2):
            self.time_passes(1000.0)
            self.spare_reaper().tick()
        self.look()


def _queues(pod: Pod) -> tuple[str, ...]:
    return pod.child.worker._role.queues


def _nurse(pod: Pod) -> bool:
    return pod.child.worker._role.quarantine
