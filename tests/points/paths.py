"""The paths of a job's life. Each sets its stage, yields, and goes on; from there on every command is a crash point.

A path goes on whoever died on it: who is dead takes no more steps. What it leaves undone, the fleet does afterwards.
"""

from collections.abc import Callable, Iterator

import attrs

from tests.counterexamples import stage
from tests.points.actors import Pod
from tests.points.wire import Fault, Mode
from tests.points.world import World

Script = Callable[[World], Iterator[None]]


@attrs.frozen
class Path:
    """A path, and the commands that it is about: without them it would be no such path."""

    script: Script
    about: tuple[str, ...]


PATHS: dict[str, Path] = {}
"""By name."""


def path(*about: str) -> Callable[[Script], Script]:
    """Make the function below a path."""

    def add(script: Script) -> Script:
        PATHS[script.__name__.replace("_", "-")] = Path(script, about)
        return script

    return add


FIVE = ("first", "second", "third", "fourth", "fifth")
"""Doorbells serve four queues; the fifth is polled by turns."""


def _busy(world: World, *plans: str, concurrency: int = 2, queue: str = "default") -> Pod:
    """A pod that has started one job for each plan."""
    pod = world.pod(queue, concurrency=concurrency, holds=True)
    world.push(*(world.job(plan, queue=queue) for plan in plans), queue=queue)
    world.work(pod)
    world.time_passes(2.0)  # what it runs is shown by now
    world.work(pod)
    assert pod.child.bench.busy == min(len(plans), concurrency)
    return pod


def _let_finish(world: World, pod: Pod) -> None:
    pod.child.bench.holds = False
    world.work(pod)


# -- putting


@path("enqueue")
def enqueue(world: World) -> Iterator[None]:
    """On a server that does not know the script yet; one job, then two as one call."""
    producer = world.producer()
    world.forget_scripts()
    yield
    producer.enqueue("default", world.job())
    producer.enqueue("default", world.job(), world.job())


@path("enqueue")
def enqueue_many(world: World) -> Iterator[None]:
    """Five jobs, two by two."""
    producer = world.producer()
    yield
    producer.enqueue_many("default", *(world.job() for _ in range(5)))


@path("schedule")
def schedule(world: World) -> Iterator[None]:
    """One job, then two as one call."""
    producer = world.producer()
    yield
    producer.schedule(1.0, world.job())
    producer.schedule(2.0, world.job(), world.job())


# -- taking, running, ending


@path("register", "SCRIPT", "turn")
def start(world: World) -> Iterator[None]:
    """A process enters the fleet, on a server that does not know its scripts, and takes what is there."""
    world.push(world.job())
    world.forget_scripts()
    pod = world.pod(running=False)
    yield
    world.work(pod)


@path("turn")
def claim_by_turn(world: World) -> Iterator[None]:
    """The turn that settles one job claims the next."""
    pod = _busy(world, ".", concurrency=1)
    world.push(world.job())
    yield
    _let_finish(world, pod)


@path("BLMOVE")
def claim_by_doorbell(world: World) -> Iterator[None]:
    """An idle process arms its doorbell, which a job rings."""
    pod = world.pod()
    yield
    pod.child.ring_out(world.client)
    world.work(pod)
    world.push(world.job())
    world.work(pod)


@path("turn", "promote")
def fail_and_retry(world: World) -> Iterator[None]:
    """The first attempt fails, the second one succeeds."""
    pod = _busy(world, "f.")
    yield
    _let_finish(world, pod)
    world.promote()
    world.work(pod)


@path("turn", "promote")
def fail_for_good(world: World) -> Iterator[None]:
    """Out of retries: one at once, one with its second failure."""
    pod = world.pod(holds=True)
    world.push(world.job("f", retry=0, fate="dead"), world.job("ff", retry=1, fate="dead"))
    world.work(pod)
    yield
    _let_finish(world, pod)
    world.promote()
    world.work(pod)


@path("turn")
def fail_and_drop(world: World) -> Iterator[None]:
    """`retry=False`: forgotten when it fails."""
    pod = world.pod(holds=True)
    world.push(world.job("f", retry=False, fate="dropped"))
    world.work(pod)
    yield
    _let_finish(world, pod)


@path("turn")
def unreadable(world: World) -> Iterator[None]:
    """A payload that is no job, beside one that is."""
    pod = world.pod()
    world.push(world.unreadable(), world.job())
    yield
    world.work(pod)


@path("turn")
def equal_bytes(world: World) -> Iterator[None]:
    """Two copies of one payload run at once, and are settled one after the other."""
    pod = _equal(world, ".")
    yield
    for _ in range(2):
        pod.child.bench.finish()
        world.work(pod)


@path("turn", "promote")
def equal_bytes_failing(world: World) -> Iterator[None]:
    """Two copies of one payload fail; each is retried."""
    pod = _equal(world, "f.")
    yield
    pod.child.bench.finish()
    world.work(pod)
    _let_finish(world, pod)
    world.promote()
    world.work(pod)


@path("turn")
def equal_bytes_taking_turns(world: World) -> Iterator[None]:
    """One slot: the turn that settles the first copy claims the second."""
    pod = world.pod(concurrency=1, holds=True)
    copy = world.job()
    world.push(copy, copy, copy)
    world.work(pod)
    yield
    _let_finish(world, pod)


def _equal(world: World, plan: str) -> Pod:
    pod = world.pod(holds=True)
    copy = world.job(plan)
    world.push(copy, copy)
    world.work(pod)
    assert pod.child.bench.busy == 2
    return pod


# -- claiming ahead


def _ahead(world: World) -> Pod:
    """A process that runs one job, and holds two that wait for the thread."""
    pod = world.pod(concurrency=1, holds=True, ahead=2)
    world.push(*(world.job() for _ in range(4)))
    world.work(pod, 3)
    assert (pod.child.bench.busy, pod.child.bench.waiting) == (1, 2)
    return pod


@path("turn")
def claim_ahead(world: World) -> Iterator[None]:
    """The thread takes the next job by itself; the turn settles, and claims another one ahead."""
    pod = _ahead(world)
    yield
    _let_finish(world, pod)


@path("turn")
def hand_back(world: World) -> Iterator[None]:
    """The job takes longer than expected: what was claimed ahead goes back, and is not claimed again at once."""
    pod = _ahead(world)
    yield
    world.time_passes(2.0)
    pod.child.step(2)
    _let_finish(world, pod)


@path("turn", "leave")
def stop_with_claims_ahead(world: World) -> Iterator[None]:
    """Told to stop: what has not begun goes back in its old order, what runs may finish."""
    pod = _ahead(world)
    yield
    pod.tell_to_stop(20.0)
    world.work(pod)
    _let_finish(world, pod)


@path("CLIENT", "condemn", "reap")
def die_with_claims_ahead(world: World) -> Iterator[None]:
    """Only the job that had begun counts as crashed."""
    pod = _ahead(world)
    pod.child.kill()
    yield
    for _ in range(3):
        pod.after_death()


# -- handing back


@path("turn")
def release_what_waits(world: World) -> Iterator[None]:
    """Two doorbells ring, there is one slot: what waits too long goes back."""
    pod = world.pod("default", "other", concurrency=1, holds=True)
    world.push(world.job())
    world.push(world.job(queue="other"), queue="other")
    yield
    world.work(pod)
    _let_finish(world, pod)


@path("turn", "leave")
def stop_idle(world: World) -> Iterator[None]:
    """Told to stop when its doorbell has just brought a job."""
    pod = world.pod("default", "other")
    yield
    pod.tell_to_stop(0.0)
    world.push(world.job())
    world.work(pod)


@path("turn", "leave")
def stop_and_finish(world: World) -> Iterator[None]:
    """Told to stop while a job runs, which ends in time."""
    pod = _busy(world, ".", "f.")
    yield
    pod.tell_to_stop(20.0)
    world.work(pod)
    _let_finish(world, pod)


@path("turn", "leave")
def stop_and_interrupt(world: World) -> Iterator[None]:
    """Told to stop while jobs run that do not end in time."""
    pod = _busy(world, ".", ".", ".")
    yield
    pod.tell_to_stop(0.0)
    world.work(pod)


@path("CLIENT", "reconcile", "leave")
def leave_at_the_last_moment(world: World) -> Iterator[None]:
    """A job comes just before the doorbell is ended, one before the comparison, one before it has left."""
    pod = world.pod("default", "other")
    yield
    for name in ("CLIENT", "reconcile", "leave"):
        world.just_before(name, lambda: world.push(world.job()))
    pod.tell_to_stop(0.0)
    world.work(pod)


# -- waiting


@path("lease", "promote")
def promote(world: World) -> Iterator[None]:
    """From `schedule` and from `retry`, to two queues, and what says no queue to the dead set."""
    world.schedule(world.job(), world.job(queue="other"), world.unreadable())
    world.schedule(world.job(), world.job(), key="retry")
    promoter = world.promoter()
    yield
    world.promote(promoter)


@path("promote")
def promote_in_batches(world: World) -> Iterator[None]:
    """More than fits into one call."""
    promoter = world.promoter()
    world.schedule(*(world.job() for _ in range(4)))
    yield
    promoter.service._sets._items = 2  # type: ignore[union-attr]
    world.promote(promoter)


# -- dying


def _dead(world: World) -> Pod:
    """A process that was killed: it ran two jobs, and held one that had not started."""
    pod = world.pod("default", "other", concurrency=2, holds=True)
    world.push(world.job())
    world.push(world.job(queue="other"), world.job(queue="other"), queue="other")
    world.work(pod, 2)
    world.time_passes(2.0)
    pod.child.step()
    pod.child.kill()
    return pod


@path("CLIENT", "condemn", "reap")
def reap_by_the_supervisor(world: World) -> Iterator[None]:
    """It sees the death, closes the connections, condemns and sweeps."""
    pod = _dead(world)
    yield
    for _ in range(3):
        pod.after_death()


@path("suspect", "condemn", "HVALS", "reap")
def reap_by_watch(world: World) -> Iterator[None]:
    """Another pod's reaper misses the heartbeat, and watches."""
    pod = _dead(world)
    pod.wire.die()
    reaper = world.reaper()
    yield
    world.reap_by_watch(pod.child.identity, reaper=reaper)


@path("CLIENT", "condemn", "reap")
def reap_by_shortcut(world: World) -> Iterator[None]:
    """Another pod's reaper sees that two beats are missing and all connections are gone."""
    pod = _dead(world)
    pod.wire.die()
    reaper = world.reaper()
    yield
    world.reap_by_shortcut(pod.child.identity, reaper=reaper)


@path("suspect", "condemn")
def false_alarm(world: World) -> Iterator[None]:
    """It could not beat, and was watched; it beats just before the verdict."""
    pod = _busy(world, ".")
    reaper = world.reaper()
    pod.frozen = True
    world.oracle.lives[pod.child.identity].out_of_reach = True

    def wake() -> None:
        pod.frozen = False
        pod.beat(now=True)

    yield
    world.run_out(pod.child.identity)
    reaper.tick()
    world.age_watches()
    world.just_before("condemn", wake)
    reaper.tick()
    wake()
    _let_finish(world, pod)


@path("condemn", "reap", "turn")
def quarantine(world: World) -> Iterator[None]:
    """A second crash, then alone, and it ends well."""
    first = _busy(world, ".")
    first.child.kill()
    first.after_death()
    second = _again(world)
    second.child.kill()
    yield
    for _ in range(3):
        second.after_death()
    world.look()
    nurse = world.pod(quarantine=True, running=False)
    world.work(nurse)


@path("condemn", "reap")
def third_crash(world: World) -> Iterator[None]:
    """A third crash buries."""
    first = _busy(world, ".")
    for story in world.oracle.stories.values():
        story.fate = "dead"
    first.child.kill()
    first.after_death()
    second = _again(world)
    second.child.kill()
    second.after_death()
    nurse = _again(world, quarantine=True)
    nurse.child.kill()
    yield
    for _ in range(3):
        nurse.after_death()


@path("turn", "leave")
def retire_with_a_last_job(world: World) -> Iterator[None]:
    """The process of the quarantine is told that there is nothing to do when it has just begun the last job."""
    first = _busy(world, ".")
    first.child.kill()
    first.after_death()
    second = _again(world)
    second.child.kill()
    second.after_death()
    nurse = _again(world, quarantine=True)
    yield
    nurse.retire()
    world.work(nurse)
    _let_finish(world, nurse)


def _again(world: World, *, quarantine: bool = False) -> Pod:
    pod = world.pod(holds=True, quarantine=quarantine)
    world.time_passes(2.0)
    world.work(pod)
    assert pod.child.bench.busy == 1
    return pod


@path("forget")
def forget(world: World) -> Iterator[None]:
    """One that has left, and one that died, a quarter of an hour ago."""
    dead, left = _busy(world, "."), world.pod()
    dead.child.kill()
    dead.after_death()
    left.tell_to_stop(0.0)
    world.work(left)
    for pod in (dead, left):
        stage.age_beat(world.client, pod.child.identity, 3600.0)
    reaper = world.reaper()
    yield
    for _ in range(3):
        reaper.tick()
        world.time_passes(100.0)


@path("register", "turn")
def frozen_past_the_ttl(world: World) -> Iterator[None]:
    """Condemned while it stood still; it thaws, its job ends for nothing, and it goes on as somebody else."""
    pod = _busy(world, ".")
    world.stand_still(pod.child.wire)
    world.push(world.job())
    yield
    pod.beat(now=True)
    _let_finish(world, pod)
    pod.beat(now=True)
    world.work(pod)


@path("beat", "turn", "leave")
def orphaned(world: World) -> Iterator[None]:
    """Its supervisor died: it beats for itself, finishes, and leaves."""
    pod = _busy(world, ".")
    pod.wire.die()
    yield
    world.work(pod, 4)
    world.time_passes(2.0)
    _let_finish(world, pod)


# -- trouble on the way


@path("reconcile")
def recover_a_turn(world: World) -> Iterator[None]:
    """The reply of a turn that settled and claimed is lost, while another job runs."""
    pod = _busy(world, ".", "f.")
    world.push(world.job())
    _strike_next(world, "turn", Mode.LOST)
    pod.child.bench.finish()
    pod.child.step()
    yield
    world.work(pod)
    _let_finish(world, pod)


@path("reconcile")
def recover_a_turn_that_was_not_applied(world: World) -> Iterator[None]:
    """The connection breaks before the turn."""
    pod = _busy(world, ".", "f.")
    world.push(world.job())
    _strike_next(world, "turn", Mode.CUT)
    pod.child.bench.finish()
    pod.child.step()
    yield
    world.work(pod)
    _let_finish(world, pod)


@path("reconcile")
def recover_a_turn_that_comes_late(world: World) -> Iterator[None]:
    """The turn arrives while the process finds out what became of it."""
    pod = _busy(world, ".", "f.")
    world.push(world.job())
    _strike_next(world, "turn", Mode.STRAY, 3)
    pod.child.bench.finish()
    pod.child.step()
    yield
    world.work(pod)
    _let_finish(world, pod)


@path("CLIENT", "reconcile")
def recover_a_doorbell(world: World) -> Iterator[None]:
    """Two doorbells have been rung; the reply of one is lost."""
    pod = world.pod("default", "other")
    pod.child.ring_out(world.client)
    _strike_next(world, "BLMOVE", Mode.LOST)
    world.work(pod)
    world.push(world.job())
    world.push(world.job(queue="other"), queue="other")
    yield
    world.work(pod)


@path("reconcile")
def recover_what_came_late(world: World) -> Iterator[None]:
    """A doorbell that was given up is served: the next turn sees more than the process knows of."""
    pod = world.pod()
    pod.child.ring_out(world.client)
    _strike_next(world, "BLMOVE", Mode.STRAY)
    world.work(pod)
    world.tap.deliver()
    world.push(world.job(), world.job())
    yield
    pod.child.ring_out(world.client)
    world.work(pod)


@path("turn")
def doorbell_and_turn(world: World) -> Iterator[None]:
    """A turn breaks while a doorbell has been served and its reply not read."""
    pod = world.pod(*FIVE)
    world.push(world.job(queue="fifth"), queue="fifth")
    yield
    world.just_before("turn", lambda: world.push(world.job(queue="first"), queue="first"))
    world.time_passes(1.0)
    world.work(pod)


@path("reconcile")
def every_connection_closed(world: World) -> Iterator[None]:
    """The server closes all connections, under a job that runs and a doorbell."""
    pod = _busy(world, ".")
    world.close_connections()
    world.push(world.job())
    yield
    _let_finish(world, pod)


@path("beat", "show", "show_work")
def beats(world: World) -> Iterator[None]:
    """The supervisor beats and shows its process, a job runs."""
    pod = _busy(world, ".")
    yield
    for _ in range(2):
        world.time_passes(6.0)
        world.work(pod)
    _let_finish(world, pod)


def _strike_next(world: World, name: str, mode: Mode, later: int | None = None) -> None:
    """Let the next command of this name be struck, on its way to the stage."""
    fault = Fault(mode, later)

    def strike(_: object, command: tuple[object, ...]) -> Fault | None:
        if world.name_of(command) != name:
            return None
        world.tap.strike = lambda wire, command: None
        return fault

    world.tap.strike = strike
