"""The scenarios, by name: which jobs, which faults, on what kind of Redis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

from chaos.faults import ALL
from chaos.faults.base import OWN_REDIS

Weights = Mapping[str, float]

ORDINARY: Weights = {
    "work": 40,
    "long": 4,
    "late-fence": 10,
    "quick": 20,
    "coroutine": 6,
    "flaky": 1,
    "parent": 4,
    "scheduled": 6,
    "foreign": 6,
    "once": 2,
    "once-failing": 1,
}
"""Jobs that harm nobody."""

HARMFUL: Weights = {"killer": 0.08, "segfault": 0.04, "exit": 0.04, "gil": 0.2}
"""Beside the ordinary ones: some that end their process, and one that holds the interpreter."""


@attrs.frozen(kw_only=True)
class Scenario:
    """What a run does. Times are seconds."""

    name: str
    what: str
    faults: Mapping[str, int]
    """How often each fault comes, in proportion."""
    workload: Weights = ORDINARY
    gap: float = 2.0
    """Between two faults, on average."""
    rate: float = 30.0
    """Jobs a second, unless the command line says how many."""
    pods: int = 4
    processes: int = 2
    concurrency: int = 8
    beat: float = 0.4
    ttl: float = 2.4
    durability: Literal["always", "everysec", "none"] = "always"
    client_list: bool = True
    memory: int | None = None
    """Bytes that one pod may use."""
    timeout: float = 4.0
    """That jobs have to finish when their pod is told to stop."""
    drain_within: float = 90.0
    lose_only: tuple[str, ...] = ()
    """The commands that are lost or late; none: all that reliq sends."""
    idle_for: float = 3.0
    """Over which idle traffic is measured, before and after."""


KILLS = {
    "kill-child": 4,
    "kill-children": 1,
    "kill-pod": 3,
    "kill-main": 1,
    "kill-after-claim": 2,
    "kill-before-run": 2,
    "kill-before-settle": 2,
    "kill-in-settle": 2,
    "kill-pod-before-settle": 1,
    "kill-in-beat": 1,
    "kill-at-boot": 1,
    "kill-in-sweep": 1,
    "kill-in-promotion": 1,
    "kill-in-release": 1,
}
GRACEFUL = {"delete-pod": 3, "scale-down": 1, "rollout": 1, "drain": 1}
NETWORK = {
    "cut": 3,
    "delay": 1,
    "half-open": 1,
    "half-open-briefly": 2,
    "one-way-out": 1,
    "one-way-in": 1,
    "refused": 1,
    "lose-reply": 12,
    "late-command": 6,
}
REDIS = {
    "redis-restart": 2,
    "redis-outage": 1,
    "redis-freeze": 1,
    "redis-stall": 2,
    "script-flush": 1,
    "client-kill": 2,
    "redis-full": 1,
    "redis-read-only": 1,
}
FREEZES = {"freeze-pod": 3, "freeze-briefly": 2, "freeze-child": 2}
PATTERNS = {"swizzle": 1, "cascade": 1, "synchronised": 1, "kill-all-pods": 1}
ODDITIES = {"full-disk": 1, "clock-step": 1, "delete-hastily": 2}
EVERYTHING = {**KILLS, **GRACEFUL, **NETWORK, **REDIS, **FREEZES, **PATTERNS, **ODDITIES}

_ALL = (
    Scenario(
        name="everything",
        what="all faults that must lose nothing, all kinds of jobs, on a Redis with appendfsync always",
        faults=EVERYTHING,
        workload={**ORDINARY, **HARMFUL, "newcomer": 1},
    ),
    Scenario(name="kills", what="SIGKILL only: at random, and at every named point of a job's life", faults=KILLS),
    Scenario(
        name="graceful",
        what="pods taken away in order only: no duplicate, no failure",
        faults=GRACEFUL,
        workload={name: weight for name, weight in ORDINARY.items() if name not in ("flaky", "once-failing")},
        gap=3.0,
    ),
    Scenario(name="freezes", what="SIGSTOP, shorter and longer than a death takes to prove", faults=FREEZES, gap=3.0),
    Scenario(name="network", what="broken, slow, half-open and one-way connections; lost replies", faults=NETWORK),
    Scenario(
        name="replies",
        what="a lost reply and a late command for every command that reliq sends",
        faults={"lose-reply": 3, "late-command": 2, "kill-child": 1},
        gap=0.3,
    ),
    Scenario(name="redis", what="Redis restarted, frozen, full, read-only: nobody may die", faults=REDIS, gap=3.0),
    Scenario(
        name="outage",
        what="Redis frozen and restarted for longer than the TTL, twice in a row: the living keep their jobs",
        faults={"redis-outage": 3, "redis-freeze": 2, "redis-stall": 1},
        gap=1.5,
    ),
    Scenario(
        name="everysec",
        what="Redis killed with appendfsync everysec: at most the last seconds are lost, and nothing else",
        faults={"redis-restart": 1, "kill-child": 3, "kill-pod": 1},
        durability="everysec",
        gap=3.0,
    ),
    Scenario(
        name="empty",
        what="Redis comes back empty: everything in it is lost, and the fleet must go on with what comes after",
        faults={"redis-empty": 1, "kill-child": 1},
        gap=5.0,
    ),
    Scenario(
        name="ttl",
        what="pods killed where CLIENT is refused: only the missing heartbeat tells",
        faults={"kill-pod": 3, "kill-child": 2, "kill-all-pods": 1},
        client_list=False,
        gap=4.0,
    ),
    Scenario(
        name="poison",
        what="jobs that kill, crash, exit and eat all memory beside innocent ones",
        faults={"kill-child": 1},
        workload={**ORDINARY, "killer": 1.0, "segfault": 0.5, "exit": 0.5, "hog": 0.3},
        rate=12.0,
        memory=700 * 1024 * 1024,
        drain_within=120.0,
    ),
    Scenario(
        name="gil",
        what="a job that holds the interpreter in C for half a minute: its process looks alive, and is",
        faults={"kill-pod": 1, "freeze-briefly": 1},
        workload={**ORDINARY, "gil-30": 0.1, "gil": 0.5},
        gap=6.0,
    ),
    Scenario(
        name="cascade",
        what="whoever recovers the last kill is killed",
        faults={"cascade": 3, "kill-in-sweep": 2},
        gap=6.0,
    ),
    Scenario(name="swizzle", what="pods cut off one by one, and back in another order", faults={"swizzle": 1}, gap=8.0),
    Scenario(
        name="synchronised",
        what="the same command kills one process of every pod; every pod dies at the same time",
        faults={"synchronised": 3, "kill-all-pods": 1},
        gap=4.0,
    ),
    Scenario(
        name="rolling",
        what="old and new code side by side, rolled out again and again under kills",
        faults={"rollout": 3, "kill-child": 2, "delete-hastily": 1},
        workload={**ORDINARY, "newcomer": 5},
        gap=3.0,
    ),
    Scenario(
        name="slow-stop",
        what="pods told to stop while jobs run that take longer than they are given",
        faults={"delete-pod": 2, "delete-hastily": 1, "kill-in-release": 1},
        workload={**ORDINARY, "long": 15},
        timeout=1.0,
    ),
)

SCENARIOS: dict[str, Scenario] = {scenario.name: scenario for scenario in _ALL}


def left_out(scenario: Scenario, offers: frozenset[str]) -> dict[str, frozenset[str]]:
    """Return the faults of a scenario that cannot be done where only this is offered, and what each of them lacks."""
    own = frozenset() if scenario.client_list else frozenset({OWN_REDIS})  # else nobody refuses CLIENT
    lacks = {name: (ALL[name].needs | own) - offers for name in scenario.faults}
    return {name: missing for name, missing in lacks.items() if missing}


def check() -> None:
    """Raise KeyError if a scenario names a fault that there is not."""
    for scenario in _ALL:
        for name in scenario.faults:
            ALL[name]
