"""The order in which a worker looks at its queues."""

from __future__ import annotations

import random
from collections.abc import Collection

from reliq.config import WorkerConfig


class Order:
    """Places in strict, weighted or random order, drawn anew for every turn.

    Weighted: each place comes first with a chance in proportion to its weight, then each of the rest likewise.
    """

    def __init__(self, worker: WorkerConfig, dice: random.Random | None = None) -> None:
        self._strict = worker.order == "strict"
        self._weights = [queue.weight or 1 for queue in worker.queues]
        self._dice = dice or random.Random()

    def draw(self, places: Collection[int]) -> list[int]:
        """Return the places in the order of this turn."""
        ordered = sorted(places)
        if self._strict or len(ordered) < 2:
            return ordered
        # Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006: sort by u^(1/w).
        keys = {place: self._dice.random() ** (1.0 / self._weights[place]) for place in ordered}
        return sorted(ordered, key=keys.__getitem__, reverse=True)
