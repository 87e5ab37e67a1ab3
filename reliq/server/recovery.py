"""Recovery: from a death to the jobs being back in their queues. Used by supervisors and by reapers."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection

from reliq.clock import SystemClock
from reliq.errors import Unreachable
from reliq.job import jid_of
from reliq.store.connection import disconnect
from reliq.store.opening import Store
from reliq.store.processes import Entry, Evidence, Processes, Reaped
from reliq.store.timeline import Event, Timelines

_log = logging.getLogger("reliq.reaper")


class Recovery:
    """The steps after a death, over one link of its own. Every step may be repeated, by anybody, at any time."""

    def __init__(self, store: Store) -> None:
        self.link = store.link("recovery")
        self.processes = Processes(store, self.link)
        self._config = store.config
        self._timelines = Timelines(store.config, store.keys)
        self._clock = SystemClock()

    def child_died(self, entry: Entry, counter: str, started: Collection[str], cause: str) -> Reaped:
        """Take a worker process whose death its supervisor has seen out of the fleet, and its jobs back.

        `counter` is the last beat; its beating must have ended. `started` is read from shared memory, exact to
        the moment of the death. Raises StoreError; then call again.
        """
        disconnect(self.link, [(entry.run_id, client) for client in entry.clients])
        dead = False
        while not dead:
            # Nobody else beats for it: a newer counter is our own last beat, whose answer was lost.
            dead, seen = self.processes.condemn(entry.identity, Evidence.CHILD, counter)
            counter = seen or counter
        return self.sweep(entry, started, cause)

    def sweep(self, entry: Entry, started: Collection[str], cause: str) -> Reaped:
        """Move back what a condemned identity holds."""
        reason = (
            f"{cause} ({entry.identity}) while it ran this job; that was crash {self._config.crash_limit} "
            f"within {self._config.crash_window / 3600:g} h, so it was not started again"
        )
        reaped = self.processes.reap(entry, started, reason)
        self.processes.unshow(entry.identity)
        self._tell_timelines(entry, frozenset(started), cause, reaped)
        if reaped.total:
            _log.warning(
                "recovered %d jobs of %s: %d to their queues, %d to quarantine, %d buried",
                reaped.total,
                entry.identity,
                len(reaped.public),
                len(reaped.quarantined),
                len(reaped.buried),
                extra={"dead": entry.identity, "jobs": reaped.total},
            )
        return reaped

    def _tell_timelines(self, entry: Entry, started: Collection[str], cause: str, reaped: Reaped) -> None:
        if not (started and self._timelines.on):
            return
        now, identity = self._clock.wall(), entry.identity
        ways = (("queued", reaped.public), ("quarantined", reaped.quarantined), ("buried", reaped.buried))
        moved = [(jid, to) for to, payloads in ways for jid in map(jid_of, payloads) if jid in started]
        events = [
            (jid, Event(at=now, what="died", identity=identity, text=f"{cause}: {to}"))
            for jid, to in moved
            if self._timelines.chosen(jid)
        ]
        with contextlib.suppress(Unreachable):  # the jobs are back: that is what must not fail
            self._timelines.write(self.link, events)
