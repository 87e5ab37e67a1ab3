"""From a kill to the next run of its job: what the thin lines of the timeline join."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import attrs

from chaos.records import FaultRecord, Run
from chaos.report.lanes import Lanes


@attrs.frozen
class Link:
    """One job that ran again because its process was killed."""

    fault: FaultRecord
    lost: Run
    again: Run

    @property
    def seconds(self) -> float:
        """How long the job waited."""
        return self.again.started_at - self.fault.at


def links(runs: list[Run], faults: list[FaultRecord], lanes: Lanes) -> list[Link]:
    """All of them, the longest first. `runs` are by token and start, `faults` by time.

    A run that failed or was interrupted has its own reason to run again. One that was done has not: it was killed
    before it was settled.
    """
    kills: defaultdict[int, list[FaultRecord]] = defaultdict(list)
    for fault in faults:
        if fault.harm == "dead":
            for pid in fault.pids:
                kills[pid].append(fault)
    found = []
    for lost, again in pairwise(runs):
        if lost.token == again.token and lost.outcome in {None, "done"}:
            lane = lanes.of_run(lost)
            # Pods of a cluster have the same process ids, so the pod must be the same too, if it is known.
            struck = [
                fault
                for fault in kills[lost.pid]
                if lost.started_at <= (fault.ended_at or fault.at)
                and fault.at <= again.started_at
                and (lane is None or lane in lanes.of_fault(fault))
            ]
            found += [Link(fault, lost, again) for fault in struck[-1:]]
    return sorted(found, key=lambda link: link.seconds, reverse=True)
