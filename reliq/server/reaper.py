"""Reaper: finds the dead by their missing heartbeats, and gets their jobs back.

Any number of reapers may run, and each does the whole duty: there is no leader to wait for. What decides about a
death is decided in `condemn.lua`, at that moment; what a reaper remembers only saves it work.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping
from functools import partial

import attrs

from reliq.clock import Clock
from reliq.errors import Refused, StoreError
from reliq.server.recovery import Recovery
from reliq.server.service import Service
from reliq.store.connection import check_server
from reliq.store.opening import Store
from reliq.store.processes import WALK_MS, Entry, Evidence, Reaped

WALK_EVERY = 5.0
"""Seconds, times living processes, between two looks of one reaper at the lists of one that is dead already: a command
that was sent before the death may still bring a job into them."""

WALK_AT_MOST = 60.0
"""Above twelve living processes each reaper looks once a minute: it may be the only one that is left."""

_log = logging.getLogger("reliq.reaper")


@attrs.define
class Dead:
    """One that is dead, and when (monotonic clock) to look at its lists again; 0 until the first look."""

    entry: Entry
    again: float = 0.0


class Reaper(Service):
    """Looks for overdue identities, twice a beat."""

    name = "reaper"

    def __init__(
        self, store: Store, clock: Clock, on_sweep: Callable[[Reaped, float], None] = lambda _, __: None
    ) -> None:
        super().__init__(store.config.longest_backoff)
        self._config = store.config
        self._clock = clock
        self._on_sweep = on_sweep  # told what was moved, and the seconds since the last beat
        self._recovery = Recovery(store)
        self._processes = self._recovery.processes
        self._dead: dict[str, Dead] = {}
        self._refused: dict[str, str] = {}
        self._answered_since: float | None = None

    def tick(self) -> float:
        """Look once at everything that is overdue."""
        try:
            overdue = self._processes.overdue(2 * self._config.beat)
            if self._answered_since is None:
                self._answered_since = self._clock.mono()
            self._dead = {identity: self._dead[identity] for identity, _ in overdue if identity in self._dead}
            for identity, late in overdue:
                if identity not in self._dead:
                    self._alone(identity, partial(self._look, identity, late))
            self._walk(dict(overdue))
        except StoreError:
            self._answered_since = None
            raise
        return min(0.5, self._config.beat / 2)

    def close(self) -> None:
        """Close the connection."""
        self._recovery.link.close()

    def _alone(self, identity: str, step: Callable[[], None]) -> None:
        """Do one step for one identity: what Redis refuses there must not stop the recovery of the others.

        What it refuses everybody is an outage, and ends the time of answers.
        """
        try:
            step()
            self._refused.pop(identity, None)
        except Refused as refusal:
            if refusal.passes:
                raise
            if self._refused.get(identity) != refusal.code:  # said once, not at every look
                self._refused[identity] = refusal.code
                _log.error("recovery of %s: %s", identity, refusal, extra={"dead": identity})

    def _look(self, identity: str, late: float) -> None:
        if self._is_dead(identity, late):
            self._dead[identity] = Dead(self._processes.entry(identity))

    def _is_dead(self, identity: str, late: float) -> bool:
        look = self._processes.suspect(identity)
        if look.state == "alive":
            return self._shortcut(identity, late, look.counter)
        if look.state == "missing":
            return look.watched_ms >= self._config.confirm_after * 1000 and self._watched(identity)
        return True

    def _walk(self, late: Mapping[str, float]) -> None:
        """Sweep the dead whose turn it is, if anything lies in their lists, and forget those that are long gone."""
        now = self._clock.mono()
        due = [dead for dead in self._dead.values() if dead.again <= now]
        if not due:
            return
        # Each looks the more seldom the more processes live, so that the looks of all together hardly grow.
        period = min(WALK_AT_MOST, WALK_EVERY * max(1, self._processes.count() - len(self._dead)))
        for dead, left in zip(due, self._processes.leftovers([dead.entry for dead in due]), strict=True):
            if left:
                self._alone(dead.entry.identity, partial(self._sweep, dead.entry, late[dead.entry.identity]))
            elif not dead.again:
                self._processes.unshow(dead.entry.identity)
            dead.again = now + period * (0.5 + random.random())
            if late[dead.entry.identity] * 1000 > WALK_MS:
                self._processes.forget(dead.entry)

    def _watched(self, identity: str) -> bool:
        dead, _ = self._processes.condemn(identity, Evidence.WATCH)
        if dead:
            said = "%s is dead: no heartbeat, watched for %g s"
            _log.warning(said, identity, self._config.confirm_after, extra={"dead": identity})
        return dead

    def _shortcut(self, identity: str, late: float, counter: str) -> bool:
        """Two beats missed and all connections gone, while this reaper always had answers: dead before the TTL.

        A connection that is gone proves nothing by itself, and after a restart of Redis everybody's is gone; so
        the server must be the same run, and the beat counter unchanged at the moment of the verdict.
        """
        since = self._answered_since
        # Answers since before its last beat; or for so long that after any outage everybody alive has beaten again.
        if since is None or self._clock.mono() - since < min(late, self._config.least_confirm):
            return False
        entry = self._processes.entry(identity)
        if not entry.clients or not entry.run_id or entry.run_id != check_server(self._recovery.link):
            return False
        if self._processes.connected(entry.clients) != set():
            return False
        dead, _ = self._processes.condemn(identity, Evidence.COUNTER, counter)
        if dead:
            said = "%s is dead: its connections are gone and it missed two beats"
            _log.warning(said, identity, extra={"dead": identity})
        return dead

    def _sweep(self, entry: Entry, late: float) -> None:
        started = () if entry.stopping else self._processes.started_by_work(entry.identity)
        self._on_sweep(self._recovery.sweep(entry, started, _cause(entry)), late)


def _cause(entry: Entry) -> str:
    return f"the worker process on {entry.host or 'an unknown host'} died"
