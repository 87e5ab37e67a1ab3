"""SuperFetch: what one identity holds, and how it claims and settles - turns, doorbells, reconciliation.

Knows no threads and no jobs: the loop in `process.py` gives it endings and gets claims. Every method may raise
Condemned; `exchange`, `ring` and `quiet` may raise StoreError, after which `recover` must succeed before the
next `exchange`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from reliq.clock import Clock
from reliq.errors import StoreError, Unreachable
from reliq.server.order import Order
from reliq.store.claims import Claim, Doorbell, Ending, Holding
from reliq.store.connection import Link, disconnect
from reliq.store.opening import Store

DOORBELLS = 4
"""Queues that a process waits on; the rest it polls. More would use up the server's connections."""

POLL = 0.25
"""Seconds between looks at an empty queue that has no doorbell."""

LATER = 2.0
"""Seconds until a paused queue, or one whose doorbell was refused, is looked at again."""

_log = logging.getLogger("reliq.worker")


class SuperFetch:
    """The fetcher of `--superfetch`."""

    def __init__(
        self, store: Store, order: Order, identity: str, queues: Sequence[str], clock: Clock, *, quarantine: bool
    ) -> None:
        self.identity = identity
        self.link: Link = store.link("turn")
        self._clock = clock
        self._order = order
        self._holding = Holding(store, identity, queues, quarantine=quarantine)
        places = range(len(queues))
        # What was given to the loop and is not settled, by place and the claim's id(): cheaper than by its bytes.
        self._known: list[dict[int, Claim]] = [{} for _ in places]
        self._due = dict.fromkeys(places, 0.0)  # place -> when (monotonic) it is worth a look
        self._bells = {place: Doorbell(self._holding, place) for place in places[:DOORBELLS]}
        self._armed: dict[int, Doorbell] = {}
        self._sent: tuple[int, list[Ending]] | None = None  # a turn whose fate is not known
        self._audit = False
        self._unseen: list[Claim] = []  # learned of, not given to the loop yet
        self._mute = 0.0  # no doorbells before this time (monotonic)

    def sockets(self) -> list[Doorbell]:
        """Return the armed doorbells, to be waited on."""
        return list(self._armed.values())

    def next_look(self) -> float | None:
        """When (monotonic clock) a queue without an armed doorbell is worth a look; None if there is none."""
        return min((due for place, due in self._due.items() if place not in self._armed), default=None)

    def clients(self) -> tuple[int, ...]:
        """Return the server's ids of all connections, for the fleet's entry."""
        links = (self.link, *(bell.link for bell in self._bells.values()))
        return tuple(link.client_id for link in links if link.client_id is not None)

    def connect(self) -> None:
        """Make all connections, so that their ids can be registered."""
        for link in (self.link, *(bell.link for bell in self._bells.values())):
            link.identify()

    # -- the turn

    def exchange(self, endings: list[Ending], limits: Sequence[int]) -> list[Claim]:
        """Settle the endings and claim what fits, in one step: from each place at most its limit, in all the largest.

        Claims only from queues without an armed doorbell: an armed one says that its queue is empty.
        """
        mine = [ending for ending in endings if ending.claim.identity == self.identity]
        capacity = max(limits, default=0)
        open_ = {place: limits[place] for place in self._due if place not in self._armed} if capacity > 0 else {}
        order = self._order.draw(open_, capacity)
        self._sent = (self._holding.number + 1, mine)
        turned = self._holding.turn(self.link, mine, order, capacity, self._clock.wall())
        self._sent = None
        self._settled(mine)
        for ending in turned.refused:
            said = "%s was settled too late, somebody else owns it now: nothing was changed"
            _log.warning(said, ending.jid, extra={"jid": ending.jid})
        if turned.trimmed:
            _log.warning("%d dead jobs were dropped: the dead set is at its limits", turned.trimmed)
        self._learn(turned.claims)
        now = self._clock.mono()
        for place in order:
            self._due[place] = now
        for place in turned.emptied:
            self._due[place] = now + POLL
        for place in turned.paused:
            self._due[place] = now + LATER
        self._audit = any(
            held > len(known) + (place in self._armed)
            for place, (held, known) in enumerate(zip(turned.held, self._known, strict=True))
        )
        return turned.claims

    @property
    def number(self) -> int:
        """The number of the last turn, applied or not."""
        return self._holding.number

    @property
    def suspicious(self) -> bool:
        """True when the last turn saw more in the private lists than is known: `recover` brings it in."""
        return self._audit

    def _settled(self, endings: Sequence[Ending]) -> None:
        for ending in endings:
            self._known[ending.claim.place].pop(id(ending.claim), None)

    def _learn(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            self._known[claim.place][id(claim)] = claim

    # -- doorbells

    def rest(self) -> None:
        """Arm the doorbells of all queues that the last turns saw empty."""
        now = self._clock.mono()
        if now < self._mute:
            return
        for place, bell in self._bells.items():
            # Due within a poll from now: just seen empty. Later: paused. Earlier: not looked at since.
            if place not in self._armed and now < self._due[place] <= now + POLL:
                bell.arm()
                self._armed[place] = bell

    def ring(self, bell: Doorbell) -> Claim | None:
        """Read the reply of a doorbell whose socket is readable."""
        self._armed.pop(bell.place, None)
        self._due[bell.place] = 0.0
        try:
            claim = bell.answer()
        except Unreachable:
            raise
        except StoreError as error:
            # Refused, by a full Redis for one: poll by script, which may claim even then.
            _log.debug("doorbell of %s: %s", self._holding.queues[bell.place], error)
            self._mute = self._clock.mono() + LATER
            return None
        if claim is not None:
            self._learn([claim])
        return claim

    def quiet(self) -> list[Claim]:
        """End all doorbells; return the jobs that came in at the last moment.

        Where CLIENT UNBLOCK is refused this waits for the server-side time-out.
        """
        for bell in list(self._armed.values()):
            bell.end(self.link)
        for bell in list(self._armed.values()):
            self._hear_out(bell)
        return self._seen()

    def _hear_out(self, bell: Doorbell) -> None:
        # Kept here, not by the caller: the next doorbell may fail, and what this one brought must not be forgotten.
        claim = self.ring(bell)
        if claim is not None:
            self._unseen.append(claim)

    def _seen(self) -> list[Claim]:
        claims, self._unseen = self._unseen, []
        return claims

    # -- after an error

    def recover(self, endings: list[Ending], waiting: Sequence[Claim]) -> tuple[list[Claim], list[Ending], list[Claim]]:
        """Find out what became of a turn or doorbell without an answer.

        `waiting` are the claims that were not started. Returns claims that were made but never seen, the endings
        that still have to be settled, and those of `waiting` that are not held any more. In this order: shut out
        what may still be under way, end the doorbells and take their replies, then compare.
        """
        self.link.close()
        self.link.identify()
        self._end_bells()
        self.connect()
        self._kill_former()
        last, lists = self._holding.reconcile(self.link)
        # From here on nothing can fail: what was found out is handed over as a whole.
        if self._sent is not None:
            number, sent = self._sent
            self._sent = None
            if last == number:
                self._settled(sent)
                done = {id(ending) for ending in sent}
                endings = [ending for ending in endings if id(ending) not in done]
        self._audit = False
        gone = self._gone(waiting, lists)
        adopted = self._seen()
        for place, payloads in enumerate(lists):
            adopted += self._compare(place, payloads)
            self._due[place] = 0.0
        return adopted, endings, gone

    def _compare(self, place: int, payloads: list[bytes]) -> list[Claim]:
        """Forget what is not held any more; return what is held and was not known."""
        held = Counter(reversed(payloads))  # oldest first, and so in the order of their claims
        known, self._known[place] = self._known[place], {}
        for claim in known.values():
            if held[claim.payload] > 0:
                held[claim.payload] -= 1
                self._learn([claim])
        new = [self._holding.claim(payload, place) for payload in held.elements()]
        self._learn(new)
        return new

    @staticmethod
    def _gone(waiting: Sequence[Claim], lists: list[list[bytes]]) -> list[Claim]:
        there = [Counter(payloads) for payloads in lists]
        gone = []
        for claim in waiting:
            if there[claim.place][claim.payload] > 0:
                there[claim.place][claim.payload] -= 1
            else:
                gone.append(claim)
        return gone

    def _end_bells(self) -> None:
        for place, bell in self._bells.items():
            # A restarted server has forgotten the wait, and the id under which it would be ended may be another's now.
            if place in self._armed and bell.link.run_id == self.link.run_id:
                try:
                    bell.end(self.link)
                    self._hear_out(bell)
                    continue
                except StoreError:
                    pass
            self._armed.pop(place, None)
            bell.link.close()

    def _kill_former(self) -> None:
        # What these connections sent and the server has not read yet will then never be applied.
        links = (self.link, *(bell.link for bell in self._bells.values()))
        disconnect(self.link, [client for link in links for client in link.former])
        for link in links:
            link.former.clear()

    # -- the end

    def close(self) -> None:
        """Close all connections."""
        for link in (self.link, *(bell.link for bell in self._bells.values())):
            link.close()
