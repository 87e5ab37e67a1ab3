"""The order in which a worker looks at its queues, and how much it takes from each."""

from __future__ import annotations

import random
from collections.abc import Mapping

from reliq.config import WorkerConfig


class Order:
    """Places in strict, weighted or random order, drawn anew for every turn.

    Weighted: each place comes first with a chance in proportion to its weight, then each of the rest likewise. And
    as one turn may claim hundreds of jobs, no place gives more than its share of them.
    """

    def __init__(self, worker: WorkerConfig, dice: random.Random | None = None) -> None:
        self._strict = worker.order == "strict"
        self._weights = [queue.weight or 1 for queue in worker.queues]
        self._dice = dice or random.Random()

    def draw(self, limits: Mapping[int, int], capacity: int) -> dict[int, int]:
        """Return the places in the order of this turn, each with the most to take from it.

        `limits` are the places to look at, each with the most that may be taken from it; `capacity` is the most that
        may be taken from all together.
        """
        ordered = sorted(limits)
        if self._strict or len(ordered) < 2:
            return {place: limits[place] for place in ordered}
        # Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006: sort by u^(1/w).
        keys = {place: self._dice.random() ** (1.0 / self._weights[place]) for place in ordered}
        whole = sum(self._weights[place] for place in ordered)
        return {
            place: min(limits[place], -(-capacity * self._weights[place] // whole))
            for place in sorted(ordered, key=keys.__getitem__, reverse=True)
        }
