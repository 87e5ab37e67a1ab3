"""Promoter: moves jobs whose time has come from `schedule` and `retry` to their queues.

One supervisor of the fleet leads, by a lease; leadership only saves work. Were there two leaders, each job would
still be moved once: the script guards every one.
"""

from __future__ import annotations

import secrets

from reliq.clock import Clock
from reliq.server.service import Service
from reliq.store.opening import Store
from reliq.store.sets import Sets

EVERY = 0.1
"""Seconds between two looks of the leader."""

LEASE = 3.0
"""Seconds that a leadership lasts without being renewed."""


class Promoter(Service):
    """Promotes while it leads, and stands by while it does not."""

    name = "promoter"

    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(store.config.longest_backoff)
        self._clock = clock
        self._link = store.link("promoter")
        self._sets = Sets(store, self._link)
        self._owner = secrets.token_hex(8)
        self._leads_until = 0.0

    def tick(self) -> float:
        """Renew the lease when a third of it is over; promote one batch if leading."""
        now = self._clock.mono()
        if now > self._leads_until - LEASE * 2 / 3:
            if not self._sets.lead("promote", self._owner, LEASE):
                return LEASE / 3
            self._leads_until = now + LEASE
        moved = self._sets.promote(self._clock.wall())
        return 0.0 if moved else EVERY

    def close(self) -> None:
        """Close the connection. The lease runs out by itself."""
        self._link.close()
