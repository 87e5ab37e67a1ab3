"""Crash points: every path of a job's life, with every fault at every command, one case each.

A case is named `path/blow/number`, as `claim-by-turn/late/3`: on this path, the command with this number (from 0) is
struck so. `python -m tests.points NAME ...` plays cases again and prints what was sent.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from tests.points.calls import READERS
from tests.points.paths import PATHS
from tests.points.wire import Command, Fault, Mode, Wire
from tests.points.world import Aftermath, Kit, World


@attrs.frozen
class Blow:
    """A fault, what follows it, and to whom it can be done.

    `leaves`: what is late arrives only when every process has left. `of_processes`: only a worker process's death can
    come to be known so.
    """

    fault: Fault
    aftermath: Aftermath = "child"
    leaves: bool = False
    of_processes: bool = False


BLOWS: dict[str, dict[str, Blow]] = {
    "dies": {
        "before": Blow(Fault(Mode.BEFORE)),
        "after": Blow(Fault(Mode.AFTER)),
        "before-power": Blow(Fault(Mode.BEFORE), "power", of_processes=True),
        "after-power": Blow(Fault(Mode.AFTER), "power", of_processes=True),
        "before-shortcut": Blow(Fault(Mode.BEFORE), "shortcut", of_processes=True),
        "after-shortcut": Blow(Fault(Mode.AFTER), "shortcut", of_processes=True),
    },
    "lives": {
        "lost": Blow(Fault(Mode.LOST)),
        "cut": Blow(Fault(Mode.CUT)),
        "frozen": Blow(Fault(Mode.FROZEN)),
        "stalled": Blow(Fault(Mode.STALLED)),
    },
    "late": {
        "late": Blow(Fault(Mode.LATE)),
        "late-soon": Blow(Fault(Mode.LATE, 1)),
        "stray": Blow(Fault(Mode.STRAY)),
        "stray-at-once": Blow(Fault(Mode.STRAY, 0)),
        "stray-soon": Blow(Fault(Mode.STRAY, 2)),
        "stray-left": Blow(Fault(Mode.STRAY), leaves=True),
    },
}
"""By group and name."""


UNTIMELY = READERS - {"CLIENT"}
"""Commands that change nothing, so that it is all one when they arrive."""


@attrs.define
class Points:
    """Counts the commands of a path, and strikes one."""

    world: World
    at: int | None = None
    fault: Fault | None = None
    sent: list[tuple[str, bool]] = attrs.Factory(list)
    """What was sent, and whether by a worker process."""

    def strike(self, wire: Wire, command: Command) -> Fault | None:
        """Which fault hits this command."""
        if self.world.asleep:
            return None  # what the others do meanwhile is not on the path
        number = len(self.sent)
        self.sent.append((self.world.name_of(command), any(pod.child.wire is wire for pod in self.world.pods)))
        if number != self.at:
            return None
        self.world.tap.trace.append(f"## {wire.name}: {self.fault} strikes {self.sent[-1][0]}")
        return self.fault


def play(kit: Kit, path: str, blow: Blow | None = None, at: int | None = None) -> Points:
    """Play one case; without a blow, the path as it should be. Raises Violation."""
    with silence(), World(kit) as world:
        script = PATHS[path].script(world)
        next(script)
        world.aftermath = blow.aftermath if blow else "child"
        world.tap.powerless = world.aftermath == "power"
        points = Points(world, at, blow.fault if blow else None)
        world.tap.strike = points.strike
        for _ in script:
            raise AssertionError(f"{path} yields twice")
        world.check()
        assert at is None or len(points.sent) > at, "nothing was struck"
        world.finish(late_when_left=bool(blow and blow.leaves))
        return points


def cases(points: Points, group: str) -> Iterator[tuple[str, Blow, int]]:
    """Every case of a path whose commands were counted."""
    for number, (command, by_process) in enumerate(points.sent):
        for name, blow in BLOWS[group].items():
            if blow.of_processes and not by_process:
                continue
            if group == "late" and command in UNTIMELY and name != "stray":
                continue  # nobody can tell when it was read
            yield name, blow, number


def find_blow(name: str) -> Blow:
    """A blow by its name."""
    return next(blows[name] for blows in BLOWS.values() if name in blows)


@contextmanager
def silence() -> Iterator[None]:
    """Without the log: it would tell of every fault."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
