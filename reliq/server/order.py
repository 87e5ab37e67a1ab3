"""The order in which a worker looks at its queues, and how much it takes from each."""

from __future__ import annotations

import random
from collections.abc import Mapping

from reliq.config import WorkerConfig
from reliq.store.claims import Portion


class Order:
    """Places in strict, weighted or random order, drawn anew for every turn.

    Weighted: each place comes first with a chance in proportion to its weight, then each of the rest likewise. And
    as one turn may claim hundreds of jobs, each place has its share of them.
    """

    def __init__(self, worker: WorkerConfig, dice: random.Random | None = None) -> None:
        self._strict = worker.order == "strict"
        self._weights = [queue.weight or 1 for queue in worker.queues]
        self._dice = dice or random.Random()

    def draw(self, limits: Mapping[int, int], capacity: int) -> dict[int, Portion]:
        """Return the places in the order of this turn, each with its portion.

        `limits` are the places to look at, each with the most that may be taken from it; `capacity` is the most that
        may be taken from all together, and the shares come to no more than that.
        """
        ordered = sorted(limits)
        if self._strict or len(ordered) < 2:
            return {place: Portion(0, limits[place]) for place in ordered}
        # Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006: sort by u^(1/w).
        keys = {place: self._dice.random() ** (1.0 / self._weights[place]) for place in ordered}
        ordered.sort(key=keys.__getitem__, reverse=True)
        # Laid end to end and cut at whole jobs from a random point on, each share is right on the average, to a job.
        each = capacity / sum(self._weights[place] for place in ordered)
        at, portions = self._dice.random(), {}
        for place in ordered:
            end = at + each * self._weights[place]
            portions[place] = Portion(min(limits[place], int(end) - int(at)), limits[place])
            at = end
        return portions
