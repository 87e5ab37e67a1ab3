"""Who is struck when the way of a place is cut: everybody who goes by it, also while one pod replaces another."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from chaos.faults import ALL
from chaos.stage import Stage

PODS = {"pod-1-1": ("pod-1", (11, 12)), "pod-1-2": ("pod-1", (21, 22)), "pod-2-1": ("pod-2", (31,))}


class Door:
    """A way to Redis of which nothing is asked but to be broken."""

    def __init__(self) -> None:
        self.delay = 0.0

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda **_: None


class Recorder(Stage):
    """A stage that only notes what is logged."""

    def __init__(self) -> None:
        self.struck: list[tuple[str, str, tuple[int, ...]]] = []
        self.rng = random.Random(1)
        self.dead_after = 4.0
        self.doors = cast(Any, {"pod-1": Door(), "pod-2": Door()})
        pods = [
            SimpleNamespace(name=name, replica=place, members=lambda pids=pids: pids)
            for name, (place, pids) in PODS.items()
        ]
        self.cluster = cast(Any, SimpleNamespace(everything=lambda: pods))
        self.chosen = pods[1]

    def busy(self, *, spare: int = 0) -> Any:  # noqa: ARG002 - the signature of Stage
        """The one that comes."""
        return self.chosen

    def log(self, name: str, target: str, *_: object, pids: tuple[int, ...] = (), **__: Any) -> Any:
        """Note it."""
        self.struck.append((name, target, pids))

    def hold(self, name: str, target: str, *_: object, pids: tuple[int, ...] = (), **__: Any) -> None:
        """Note it."""
        self.struck.append((name, target, pids))


@pytest.mark.parametrize(
    "name", ["cut", "delay", "half-open", "half-open-briefly", "one-way-in", "one-way-out", "refused"]
)
def test_whoever_leaves_by_the_same_door_is_struck_too(name: str) -> None:
    stage = Recorder()
    assert ALL[name].strike(stage)
    assert stage.struck == [(name, "pod-1-2", (21, 22)), (name, "pod-1-1", (11, 12))]


def test_whoever_is_alone_is_struck_alone() -> None:
    stage = Recorder()
    stage.chosen = stage.cluster.everything()[2]  # type: ignore[assignment]
    assert ALL["half-open"].strike(stage)
    assert stage.struck == [("half-open", "pod-2-1", (31,))]
