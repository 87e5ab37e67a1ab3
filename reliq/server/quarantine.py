"""QuarantineWatch: sees when jobs wait that may only run alone."""

from __future__ import annotations

from collections.abc import Sequence

from reliq.server.service import Service
from reliq.store.opening import Store

EVERY = 1.0


class QuarantineWatch(Service):
    """Looks once a second whether one of these queues has anything in quarantine."""

    name = "quarantine"

    def __init__(self, store: Store, queues: Sequence[str]) -> None:
        super().__init__(store.config.longest_backoff)
        self.waiting = False
        self._link = store.link("quarantine")
        self._keys = [store.keys.quarantine(name) for name in queues]

    def tick(self) -> float:
        """Look once."""
        self.waiting = any(self._link.call_all([("EXISTS", key) for key in self._keys]))
        return EVERY

    def close(self) -> None:
        """Close the connection."""
        self._link.close()
