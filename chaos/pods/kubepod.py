"""One pod on a real cluster: one run of the worker's container in a Kubernetes pod."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from chaos.pods.base import Note, Struck
from chaos.pods.kubecall import Cut, Gone, Kubectl, failed
from chaos.pods.podstate import End, PodState
from chaos.records import PodEvent, now

KILLED = 137
"""Exit code of a program in a container that was killed with it."""

CAUSES = {"OOMKilled": "oom-killed", "Evicted": "evicted"}
"""Ends of a container that Kubernetes has a word for and nobody armed: their names as faults."""

LEAST_GRACE = 2.0
"""Seconds that the kubelet gives a container between SIGTERM and SIGKILL, however little it was told to."""

CLOCK = "import time; print(time.monotonic())"

SOURCE = Path(__file__).with_name("inside.py")


@attrs.frozen
class Sight:
    """The processes of a pod, by their ids inside its container, and those that were just signalled."""

    main: tuple[int, ...] = ()
    members: tuple[int, ...] = ()
    children: tuple[int, ...] = ()
    hit: tuple[int, ...] = ()


@attrs.define(kw_only=True)
class Reach:
    """How pods are reached, and whom they tell."""

    kubectl: Kubectl
    container: str
    python: str
    note: Note
    struck: Struck | None
    every: float
    """Seconds for which the processes of a pod are taken for known."""
    refresh: Callable[[], None]
    """Looks at the list of pods, if the last look is old."""
    since: float = 0.0
    """When the list before the last one was asked for: what the last one shows for the first time came after that."""
    frozen: set[KubectlPod] = attrs.field(factory=set)

    def inside(self, replica: str, *words: str) -> Sight:
        """Run chaos.pods.inside in the container of a pod; return what it says. Raises KubectlError."""
        program = (self.python, "-c", SOURCE.read_text(encoding="utf-8"))
        answer = self.kubectl.run("exec", replica, "-c", self.container, "--", *program, *words, codes=(0, KILLED))
        try:
            return Sight(**{name: _pids(value) for name, value in json.loads(answer.out).items()})
        except (ValueError, TypeError, AttributeError):
            error = failed("exec", answer)
            raise (Cut(str(error)) if answer.code == KILLED else error) from None


def _pids(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, list) else (int(value),)


class KubectlPod:
    """One run of the container of one Kubernetes pod. Made by its cluster, which tells it what it has seen."""

    def __init__(self, state: PodState, reach: Reach) -> None:
        self.replica = self.host = state.name
        self.name = f"{state.name}-{state.restarts}" if state.restarts else state.name
        self._state = state
        self._reach = reach
        self._end: End | None = None
        self._was_ready = self._was_told = self._forced = False
        self._grace_ends = math.inf
        self._seen = Sight()
        self._seen_at = -math.inf
        self._say("start", replica=state.name, host=state.name, node=state.node, uid=state.uid, since=reach.since)

    # -- the Pod of chaos.pods.base

    def running(self) -> bool:
        """Whether its container runs."""
        self._reach.refresh()
        return self._end is None

    def ready(self) -> bool:
        """Whether Kubernetes calls it ready, which with deploy/chaos means registered, and it is not being deleted."""
        return self.running() and self._state.ready and not self._was_told

    def exit_code(self) -> int | None:
        """Return the code of its container; None while it runs, and if nobody learned it."""
        self._reach.refresh()
        return None if self._end is None else self._end.code

    def members(self) -> tuple[int, ...]:
        """Process ids inside its container, at most a second old."""
        return self._look().members

    def children(self) -> tuple[int, ...]:
        """Process ids of its worker processes inside the container, at most a second old."""
        return self._look().children

    def kill_all(self) -> tuple[int, ...]:
        """SIGKILL everything in its container at once, and delete the Kubernetes pod, which does not come back."""
        hit = self._killed("kill-all")
        self._delete(0)
        return hit

    def kill_main(self) -> tuple[int, ...]:
        """SIGKILL the main process; everything in the container ends with it, and the kubelet starts it again.

        containerd ends the others at once. A runtime that leaves them leaves workers without a supervisor: they stop.
        """
        return self._killed("kill-main")

    def kill_child(self, index: int) -> tuple[int, ...]:
        """SIGKILL one worker process, number `index` modulo how many there are."""
        return self._strike("kill-child", str(index))

    def delete(self, grace: float) -> None:
        """Delete the Kubernetes pod: preStop, SIGTERM, and SIGKILL after `grace` seconds, whole ones, rounded up.

        A grace of 0 deletes by force: the pod is off the list at once, and its container gets two seconds at most.
        """
        seconds, since = math.ceil(grace), now()
        self._delete(seconds)
        self._forced = not seconds
        self.told(seconds, since)

    def freeze(self) -> tuple[int, ...]:
        """SIGSTOP everything in its container."""
        self._reach.frozen.add(self)
        return self._strike("freeze")

    def thaw(self) -> None:
        """SIGCONT everything in its container."""
        self._strike("thaw")
        self._reach.frozen.discard(self)

    def clock(self) -> float:
        """Return what the monotonic clock says in its container. Raises KubectlError."""
        reach = self._reach
        answer = reach.kubectl.run("exec", self.replica, "-c", reach.container, "--", reach.python, "-c", CLOCK)
        try:
            return float(answer.out)
        except ValueError:
            raise failed("exec", answer) from None

    # -- what its cluster has seen

    def saw(self, state: PodState) -> None:
        """Learn how it is now."""
        self._state = state
        if state.ready and self._end is None and not self._was_ready:
            self._was_ready = True
            self._say("ready")
        if state.deleting:
            self.told(state.grace, self._reach.since)

    def told(self, grace: float | None, since: float) -> None:
        """Learn that it is being deleted, with so many seconds of grace; it may have been told since that moment."""
        if self._end is None and not self._was_told:
            self._was_told = True
            self._grace_ends = math.inf if grace is None else since + max(grace, LEAST_GRACE)
            self._say("term", grace=grace, since=since)

    def ended(self, end: End, since: float | None = None) -> None:
        """Learn that its container has ended; of one that is off the list by force, that it is about to.

        `since` is when it was struck, if that was armed.
        """
        if self._end is not None:
            return
        self._end = end
        self._reach.frozen.discard(self)
        killed = since is None and end.code in (None, -9)
        over = killed and (now() >= self._grace_ends or self._forced)
        if over:
            self._say("kill", at=self._grace_ends)
        self._say("end", since=self._reach.since if since is None else since, **attrs.asdict(end))
        if over and not self._forced:
            self._struck("grace-over", self._grace_ends)
        elif killed and not over and end.reason in CAUSES:
            self._struck(CAUSES[end.reason], self._reach.since)

    def _struck(self, name: str, since: float) -> None:
        if self._reach.struck is not None:
            self._reach.struck(name, self.name, self._seen.members, since)

    @property
    def over(self) -> bool:
        """Whether its end is known."""
        return self._end is not None

    # -- reaching into it

    def _look(self) -> Sight:
        if now() - self._seen_at > self._reach.every:
            self._inside("look")
        return self._seen

    def _killed(self, verb: str) -> tuple[int, ...]:
        lost, since = self.members(), now()
        hit = self._strike(verb, lost=lost)
        if hit:
            self.ended(End(-9, verb), since)
        return hit

    def _strike(self, *words: str, lost: tuple[int, ...] = ()) -> tuple[int, ...]:
        hit = self._inside(*words, lost=lost).hit
        self._seen_at = -math.inf
        return hit

    def _inside(self, *words: str, lost: tuple[int, ...] = ()) -> Sight:
        """Run chaos.pods.inside in it, if it is still there; note its processes if they have changed.

        `lost` is what was hit if the container ended before it was said.
        """
        seen = Sight()
        if not self.over:
            try:
                seen = self._reach.inside(self.replica, *words)
            except Gone:
                pass
            except Cut:
                seen = Sight(hit=lost)
        before, self._seen, self._seen_at = self._seen, seen, now()
        if seen.members and (seen.members, seen.children) != (before.members, before.children):
            self._say("members", pids=seen.members, children=seen.children, main=seen.main[0])
        return seen

    def _delete(self, seconds: int) -> None:
        words = ("delete", "pod", self.replica, f"--grace-period={seconds}", *(() if seconds else ("--force",)))
        with contextlib.suppress(Gone):
            self._reach.kubectl.run(*words, "--wait=false")

    def _say(self, what: str, *, at: float | None = None, **detail: Any) -> None:
        self._reach.note(PodEvent(pod=self.name, what=what, at=now() if at is None else at, detail=detail))
