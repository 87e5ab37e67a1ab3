"""The runner: round by round, row by row, peer by peer, all on the same server."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import attrs
import psutil
import redis

from bench.failed import Failed
from bench.peers.ceiling import Ceiling
from bench.peers.peer import Peer, RowName
from bench.results import About, Results, Sample, Setting
from bench.rows import ROWS
from bench.server import Durability, Place, serve
from bench.stage import Sizes, stage
from reliq.cli.bench.machine import machine


@attrs.frozen(kw_only=True)
class Plan:
    """What is to be measured, and how often."""

    peers: Sequence[Peer]
    rows: Sequence[RowName]
    rounds: int
    sizes: Sizes
    durability: Durability
    pinned: bool
    left_out: Sequence[str] = ()

    @property
    def steps(self) -> list[tuple[int, RowName, Peer]]:
        """Round, row and peer of all runs, in their order. Each round begins with another peer."""
        found = []
        for number in range(self.rounds):
            turned = [self.peers[(at + number) % len(self.peers)] for at in range(len(self.peers))]
            # The ceiling takes its turns from what the worker did in the same round.
            ordered = sorted(turned, key=lambda peer: isinstance(peer, Ceiling))
            for row in self.rows:
                if ROWS[row].once and number:
                    continue
                found += [(number, row, peer) for peer in ordered if row in peer.rows]
        return found


def processors() -> tuple[frozenset[int], frozenset[int]]:
    """Return the processor of server and worker, and that of the producer and this program. Raises Failed."""
    there = sorted(os.sched_getaffinity(0))
    if len(there) < 2:
        raise Failed("--pinned needs two processors: one for server and worker, one for the producer")
    return frozenset(there[:1]), frozenset(there[1:2])


def run(plan: Plan, told: Callable[[Sample], None]) -> Results:
    """Measure everything, or until interrupted; tell each sample as it comes. Raises Failed and MissingServer."""
    cpus, spare = processors() if plan.pinned else (None, None)
    before = os.sched_getaffinity(0)
    with serve(plan.durability, cpus) as place:
        results = Results(
            setting=Setting(machine=machine(), server=place.title, durability=plan.durability, pinned=plan.pinned),
            peers={
                peer.name: About(
                    title=peer.title, mode=peer.mode, reliable=peer.reliable, packages=peer.installed.packages
                )
                for peer in plan.peers
            },
            left_out=list(plan.left_out),
        )
        if spare is not None:
            os.sched_setaffinity(0, spare)
        try:
            for number, row, peer in plan.steps:
                sample = measure(row, peer, place, plan.sizes, spare=spare, number=number)
                results.samples.append(sample)
                told(sample)
                if row == "drain-1" and peer.name == "reliq":
                    _tell_ceiling(plan.peers, sample)
        except KeyboardInterrupt:
            results.left_out.append(f"interrupted after {len(results.samples)} of {len(plan.steps)} runs")
        finally:
            os.sched_setaffinity(0, before)
    return results


def _tell_ceiling(peers: Sequence[Peer], sample: Sample) -> None:
    """Let the ceiling's turns be as large as the worker's were."""
    scripts = sample.values.get("scripts", 0.0)
    for peer in peers:
        if isinstance(peer, Ceiling) and scripts > 0:
            peer.turn = max(1, round(1 / scripts))


def measure(
    row: RowName, peer: Peer, place: Place, sizes: Sizes, *, spare: frozenset[int] | None = None, number: int = 0
) -> Sample:
    """Run one row of one peer once."""
    load = psutil.getloadavg()[0]
    try:
        with stage(peer, place, sizes, spare, reliable=ROWS[row].reliable and peer.reliable is not None) as one:
            values = ROWS[row].run(one)
    except (Failed, redis.RedisError) as error:
        return Sample(row=row, peer=peer.name, round=number, failure=str(error), load=load)
    return Sample(row=row, peer=peer.name, round=number, values=values, load=load)
