"""BasicFetch: plain BRPOP, for those who ask for it. A job whose process dies is lost.

The same verbs as SuperFetch, so that the loop does not know which one it has. There is no private list: between
the pop and the end of its run a job exists in this process's memory alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from reliq.clock import Clock
from reliq.errors import Refused
from reliq.outcome import Bury, Done, Release, Retry
from reliq.server.order import Order
from reliq.store.claims import Claim, Ending
from reliq.store.connection import Link
from reliq.store.opening import Store

DAY_STAT = 5 * 365 * 86400
"""Seconds that a day's counters live, as in Sidekiq."""

BLOCK = 2
"""Seconds that one BRPOP waits, as in Sidekiq."""


class PopBell:
    """One BRPOP over all queues, in flight."""

    def __init__(self, fetch: BasicFetch) -> None:
        self.link: Link = fetch.store.link("pop")
        self._fetch = fetch

    def fileno(self) -> int:
        """Return the socket to wait on."""
        return self.link.fileno()

    @property
    def generation(self) -> int:
        """The number of the connection."""
        return self.link.generation


class BasicFetch:
    """The fetcher of `--no-superfetch`."""

    suspicious = False
    number = -1
    """Its transactions have none."""

    def __init__(self, store: Store, order: Order, identity: str, queues: Sequence[str], clock: Clock) -> None:
        self.identity = identity
        self.store = store
        self.link: Link = store.link("turn")
        self._order = order
        self._queues = tuple(queues)
        self._clock = clock
        self._bell = PopBell(self)
        self._armed = False

    def sockets(self) -> list[PopBell]:
        """Return the pop in flight, to be waited on."""
        return [self._bell] if self._armed else []

    def next_look(self) -> float | None:
        """There is nothing to poll: the pop waits."""
        return None

    def clients(self) -> tuple[int, ...]:
        """Return the server's ids of all connections."""
        ids = (self.link.client_id, self._bell.link.client_id)
        return tuple(client for client in ids if client is not None)

    def connect(self) -> None:
        """Make all connections."""
        self.link.identify()
        self._bell.link.identify()

    def exchange(self, endings: list[Ending], limits: Sequence[int]) -> list[Claim]:  # noqa: ARG002 - the pop claims
        """Write down how jobs ended, in one transaction."""
        if not endings:
            return []
        commands = self._commands(endings)
        self.link.call_all([("MULTI",), *commands, ("EXEC",)])
        return []

    def _commands(self, endings: Sequence[Ending]) -> list[tuple[object, ...]]:
        keys, now = self.store.keys, self._clock.wall()
        commands: list[tuple[object, ...]] = []
        done = failed = 0
        for ending in endings:
            outcome, claim = ending.outcome, ending.claim
            if isinstance(outcome, Release):
                commands.append(("RPUSH", keys.queue(self._queues[claim.place]), claim.payload))
                continue
            done += 1
            failed += not isinstance(outcome, Done)
            if isinstance(outcome, Retry):
                commands.append(("ZADD", keys.retry, repr(outcome.at), outcome.payload))
            elif isinstance(outcome, Bury):
                commands.append(("ZADD", keys.dead, repr(now), outcome.payload))
        for name, amount in (("processed", done), ("failed", failed)):
            if amount:
                commands.append(("INCRBY", keys.stat(name), amount))
                commands.append(("INCRBY", keys.stat(name, now), amount))
                commands.append(("EXPIRE", keys.stat(name, now), DAY_STAT))
        return commands

    def rest(self) -> None:
        """Send the pop."""
        if not self._armed:
            paused = self.link.call("SMISMEMBER", self.store.keys.paused, *self._queues)
            places = self._order.draw({place: 1 for place, rests in enumerate(paused) if not rests}, 1)
            if not places:
                return  # the next pass of the loop looks again
            self._bell.link.identify()
            self._bell.link.send("BRPOP", *(self.store.keys.queue(self._queues[place]) for place in places), BLOCK)
            self._armed = True

    def ring(self, bell: PopBell) -> Claim | None:
        """Read the pop's reply."""
        self._armed = False
        try:
            reply = bell.link.receive()
        except Refused as refusal:
            if refusal.code == "UNBLOCKED":
                return None
            raise
        if reply is None:
            return None
        key, payload = reply
        name = key.decode().removeprefix(self.store.keys.queue(""))
        return Claim(payload, self._queues.index(name), self.identity)

    def quiet(self) -> list[Claim]:
        """End the pop; return the job that came in at the last moment."""
        if not self._armed:
            return []
        with contextlib.suppress(Refused):  # then the server-side time-out ends it
            self.link.call("CLIENT", "UNBLOCK", self._bell.link.client_id or 0, "TIMEOUT")
        claim = self.ring(self._bell)
        return [claim] if claim is not None else []

    def recover(
        self,
        endings: list[Ending],
        waiting: Sequence[Claim],  # noqa: ARG002 - there is nothing to compare with
    ) -> tuple[list[Claim], list[Ending], list[Claim]]:
        """Connect again. What a broken pop had taken is lost: that is what this fetcher does."""
        self._armed = False
        self.link.close()
        self._bell.link.close()
        self.connect()
        return [], endings, []

    def close(self) -> None:
        """Close all connections."""
        self.link.close()
        self._bell.link.close()
