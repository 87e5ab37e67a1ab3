"""Pods on this machine: they live, die and are taken away as on a cluster, and every moment is noted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import redis

import reliq
from chaos.observer import Observer
from chaos.pods import group
from chaos.pods.cgroup import memory_limit
from chaos.pods.local import ROOT, LocalCluster, LocalPod, Recipe, Replica
from chaos.points import FAST
from chaos.records import PodEvent
from chaos.servers import Server
from tests.chaos.oracle_ledgers import Book

TERMINATED = -signal.SIGTERM
WITHIN = 20.0


class Stagehand:
    """A cluster with one or two replicas, and what was noted of it."""

    def __init__(
        self,
        server: Server,
        directory: Path,
        replicas: int = 1,
        *,
        memory: int | None = None,
        old: Path | None = None,
    ) -> None:
        self.observer = Observer(unix_socket_path=str(server.socket))
        self.events: list[PodEvent] = []
        self.struck: list[tuple[str, str]] = []
        self.dead: set[int] = set()
        recipe = Recipe(
            directory=directory,
            collector="unix:/nowhere",
            environment={f"RELIQ_{name.upper()}": str(value) for name, value in FAST.items()},
            processes=1,
            concurrency=2,
            timeout=0.5,
            grace=0.5,
            memory=memory,
            old=old,
        )
        self.cluster = LocalCluster(
            [Replica(f"pod-{number + 1}", server.url) for number in range(replicas)],
            recipe,
            note=self.events.append,
            struck=lambda name, pod, pids, at: self.struck.append((name, pod)),
            registered=self.observer.registered,
            ended=self.dead.update,
            pause=lambda: 0.0,
        )

    def until(self, condition: Callable[[], object], why: str) -> None:
        until = time.monotonic() + WITHIN
        while not condition():
            assert time.monotonic() < until, f"not within {WITHIN:g} s: {why}"
            self.cluster.tick()

    def ready(self, count: int = 1) -> list[LocalPod]:
        """Wait for so many ready pods."""
        self.until(lambda: sum(pod.ready() for pod in self.cluster.pods()) >= count, f"{count} pods are ready")
        return [pod for pod in self.cluster.pods() if isinstance(pod, LocalPod)]

    def told(self, pod: str) -> list[str]:
        """What was noted of a pod, in order."""
        return [event.what for event in self.events if event.pod == pod and event.what != "members"]

    def close(self) -> None:
        self.cluster.close()
        self.observer.close()


@pytest.fixture
def hand(server: Server, tmp_path: Path) -> Iterator[Stagehand]:
    one = Stagehand(server, tmp_path)
    yield one
    one.close()


def test_a_killed_pod_is_replaced(hand: Stagehand) -> None:
    [pod] = hand.ready()
    members, children = pod.members(), pod.children()
    assert pod.name == "pod-1-1"
    assert len(children) == 1
    assert set(children) < set(members)
    assert set(pod.kill_all()) == set(members)
    assert all(group.read(pid) is None for pid in members)
    hand.until(lambda: hand.ready()[0].name == "pod-1-2", "another one follows")
    assert hand.told("pod-1-1") == ["start", "ready", "end"]
    assert hand.dead >= set(members)
    [end] = [event for event in hand.events if event.what == "end"]
    assert end.detail == {"code": -signal.SIGKILL}


def test_a_killed_child_is_replaced_by_its_supervisor(hand: Stagehand) -> None:
    [pod] = hand.ready()
    before = pod.children()
    assert pod.kill_child(5) == before
    hand.until(lambda: pod.children() and pod.children() != before, "another child follows")
    assert pod.running()
    seen = [event.detail["children"] for event in hand.events if event.what == "members"]
    assert before in seen


def test_the_children_of_a_killed_supervisor_leave_by_themselves(hand: Stagehand) -> None:
    [pod] = hand.ready()
    main = pod.process.pid
    assert pod.kill_main() == (main,)
    hand.until(pod.gone, "its children leave")
    assert hand.told(pod.name) == ["start", "ready", "end"]


def test_a_pod_is_taken_away_in_order(hand: Stagehand) -> None:
    [pod] = hand.ready()
    pod.delete(20.0)
    assert not pod.ready()
    hand.until(pod.gone, "it ends")
    assert hand.told(pod.name) == ["start", "ready", "prestop", "term", "end"]
    assert pod.exit_code() == 0
    assert not hand.struck


def test_whoever_does_not_end_in_time_is_killed(hand: Stagehand) -> None:
    [pod] = hand.ready()
    pod.freeze()
    pod.delete(0.3)
    hand.until(pod.gone, "it ends")
    assert hand.told(pod.name) == ["start", "ready", "prestop", "term", "kill", "end"]
    assert hand.struck == [("grace-over", pod.name)]


def test_a_frozen_pod_goes_on_when_it_is_thawed(hand: Stagehand, redis_client: redis.Redis) -> None:
    [pod] = hand.ready()
    pids = pod.freeze()
    assert set(pids) == set(pod.members())
    hand.until(lambda: {_state(pid) for pid in pids} == {"T"}, "all stand still")
    pod.thaw()
    hand.until(lambda: "T" not in {_state(pid) for pid in pids}, "all go on")
    beat = _last_beat(redis_client)
    hand.until(lambda: _last_beat(redis_client) > beat, "it beats again")


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _last_beat(client: redis.Redis) -> float:
    scores: Any = client.zrange("beats", 0, -1, withscores=True)
    return float(scores[-1][1])


def test_a_rollout_starts_the_new_one_first(hand: Stagehand) -> None:
    hand.ready()
    hand.cluster.rollout_restart()
    hand.until(lambda: not hand.cluster.rolling() and hand.told("pod-1-1")[-1] == "end", "the old one has ended")
    moments = [(event.pod, event.what) for event in hand.events]
    assert moments.index(("pod-1-2", "ready")) < moments.index(("pod-1-1", "prestop"))


def test_old_pods_run_the_old_tree(server: Server, tmp_path: Path) -> None:
    old = tmp_path / "old"
    for name in ("reliq", "lua"):
        shutil.copytree(ROOT / name, old / name)
    init = old / "reliq" / "__init__.py"
    init.write_text(init.read_text().replace(f'__version__ = "{reliq.__version__}"', '__version__ = "0.0.1"'))
    hand = Stagehand(server, tmp_path, old=old)

    def versions() -> list[str]:
        entries = cast("dict[bytes, bytes]", hand.observer.client.hgetall("fleet"))
        return [json.loads(entry)["version"] for entry in entries.values()]

    try:
        hand.ready()
        assert versions() == [reliq.__version__]
        hand.cluster.rollout_restart()
        hand.until(lambda: hand.told("pod-1-1")[-1] == "end", "it has been replaced")
        assert "0.0.1" in versions()
    finally:
        hand.close()


def test_scaling_down_takes_pods_away_in_order(server: Server, tmp_path: Path) -> None:
    hand = Stagehand(server, tmp_path, replicas=2)
    try:
        hand.ready(2)
        hand.cluster.scale(1)
        hand.until(lambda: hand.told("pod-2-1")[-1] == "end", "one has ended")
        hand.until(lambda: len(hand.cluster.everything()) == 1, "nothing of it is left")
        assert "kill" not in hand.told("pod-2-1")
        hand.cluster.scale(2)
        hand.ready(2)
    finally:
        hand.close()


def test_a_wall_clock_can_be_set_wrong(hand: Stagehand, redis_client: redis.Redis) -> None:
    [pod] = hand.ready()
    pod.clock.write_text("7200")
    hand.until(lambda: _shown_beat(redis_client) > time.time() + 7000, "it shows the wrong time")


def _shown_beat(client: redis.Redis) -> float:
    members: Any = client.smembers("processes")
    return max((float(client.hget(member.decode(), "beat") or 0) for member in members), default=0.0)


def test_a_memory_limit_kills_whoever_crosses_it(tmp_path: Path) -> None:
    limit = memory_limit(64 * 1024 * 1024)
    if limit is None:
        pytest.skip("this machine lets us make no control group")
    try:
        pid = os.fork()
        if pid == 0:
            limit.procs.write_text(str(os.getpid()))
            kept = [bytearray(b"x") * (1 << 20) for _ in range(512)]
            os._exit(len(kept) and 0)
        _, status = os.waitpid(pid, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        assert limit.kills() >= 1
    finally:
        limit.close()


def test_events_fit_what_the_oracle_reads(hand: Stagehand) -> None:
    [pod] = hand.ready()
    pod.kill_all()
    hand.until(pod.gone, "it is gone")
    book = Book()
    book.events += hand.events
    assert book.judge().counts["sent"] == 0
