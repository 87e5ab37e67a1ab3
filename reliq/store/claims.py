"""The worker's side: turns, doorbells, and what a process holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, count
from typing import Any, NamedTuple

import attrs
import orjson

from reliq.errors import Refused, StoreError
from reliq.outcome import Bury, Done, Drop, Outcome, Release, Retry
from reliq.store.connection import Link
from reliq.store.keys import Key
from reliq.store.opening import Store
from reliq.store.scripts import Arg

CLAIM_BYTES = 1024 * 1024
"""The most that one turn claims."""


class Condemned(Exception):
    """The identity has been declared dead; it may not claim or settle any more."""


# Claims and endings are made for every job, and nobody changes them: frozen, attrs would take twice as long.


@attrs.define
class Claim:
    """A job that a process holds: its bytes, its queue's place in the order, who claimed it, and its number.

    Later claims of a process have larger numbers: by them several are put into their old order. `mark` is what whoever
    notes which jobs have started keeps with it.
    """

    payload: bytes
    place: int
    identity: str
    number: int = attrs.field(default=0, eq=False)
    mark: int | None = attrs.field(default=None, eq=False)


@attrs.define
class Ending:
    """A claim and how it ended."""

    claim: Claim
    outcome: Outcome
    jid: str


class Portion(NamedTuple):
    """How many jobs a turn claims from a place before it looks at others, and at most."""

    share: int
    most: int


@attrs.frozen
class Turned:
    """What a turn did.

    `refused` are the endings that removed nothing: somebody else owns the job. `emptied` are the places that
    were seen empty, `paused` those passed over, `held` the lengths of the private lists by place.
    """

    refused: list[Ending]
    claims: list[Claim]
    emptied: list[int]
    paused: list[int]
    held: list[int]
    trimmed: int


class Holding:
    """The places of one identity: from which lists it claims, and into which.

    A place is an index into `queues`. For a worker of the quarantine the sources are the quarantine lists;
    everything else is the same.
    """

    def __init__(self, store: Store, identity: str, queues: Sequence[str], *, quarantine: bool = False) -> None:
        self.store = store
        self.identity = identity
        self.queues = tuple(queues)
        keys = store.keys
        source = keys.quarantine if quarantine else keys.queue
        self.public: tuple[Key, ...] = tuple(source(name) for name in queues)
        self.private: tuple[Key, ...] = tuple(keys.private(identity, name) for name in queues)
        self.number = 0
        self._claimed = count(1)

    def claim(self, payload: bytes, place: int) -> Claim:
        """Return a claim of this identity, later than all before."""
        return Claim(payload, place, self.identity, next(self._claimed))

    def turn(
        self, link: Link, endings: Sequence[Ending], order: Mapping[int, Portion], capacity: int, now: float
    ) -> Turned:
        """Settle `endings`, then claim up to `capacity` jobs.

        They come from the places in `order`: first each gives its share, then what is left is claimed one after the
        other, up to the first that has given its most and may hold more.

        Sent once, under the next number. Raises Condemned, and StoreError when it is not known or not
        certain that it was applied: then `reconcile` must follow. `now` is epoch seconds.
        """
        self.number += 1
        keys, config = self.store.keys, self.store.config
        acks = _by_place([ending for ending in endings if type(ending.outcome) is Done])
        others = sorted((ending for ending in endings if type(ending.outcome) is not Done), key=_settle_order)
        reply = self.store.scripts(link).turn(
            heartbeat=keys.heartbeat(self.identity),
            turn=keys.turn(self.identity),
            crashes=keys.crashes,
            paused=keys.paused,
            retry=keys.retry,
            dead=keys.dead,
            processed=keys.stat("processed"),
            processed_today=keys.stat("processed", now),
            failed=keys.stat("failed"),
            failed_today=keys.stat("failed", now),
            trimmed=keys.stat("trimmed"),
            public=self.public,
            private=self.private,
            number=self.number,
            capacity=capacity,
            max_bytes=CLAIM_BYTES,
            now=now,
            dead_before=now - config.dead_for,
            dead_limit=config.dead_limit,
            order_count=len(order),
            ack_groups=len(acks),
            rest=[
                *(place + 1 for place in order),
                *(self.queues[place] for place in order),
                *(portion.share for portion in order.values()),
                *(portion.most for portion in order.values()),
                *chain.from_iterable(map(_ack, acks)),
                *chain.from_iterable(map(_settle, others)),
            ],
        )
        if reply[0] == b"fenced":
            raise Condemned(self.identity)
        if reply[0] == b"stale":
            raise StoreError(f"turn {self.number} was refused, {reply[1]} was the last one")
        return self._turned(reply, [*chain.from_iterable(acks), *others])

    def _turned(self, reply: list[Any], endings: Sequence[Ending]) -> Turned:
        _, refused, claims, emptied, paused, held, _, trimmed = reply
        return Turned(
            refused=[endings[position - 1] for position in refused],
            claims=[
                Claim(payload, index - 1, self.identity, number)
                for index, *payloads in claims
                for payload, number in zip(payloads, self._claimed, strict=False)  # numbers never end
            ],
            emptied=[index - 1 for index in emptied],
            paused=[index - 1 for index in paused],
            held=held,
            trimmed=trimmed,
        )

    def reconcile(self, link: Link) -> tuple[int, list[list[bytes]]]:
        """Shut out every turn sent so far; return the last applied number and the private lists, newest first.

        Raises Condemned.
        """
        self.number += 1
        keys = self.store.keys
        reply = self.store.scripts(link).reconcile(
            heartbeat=keys.heartbeat(self.identity),
            turn=keys.turn(self.identity),
            private=self.private,
            number=self.number,
        )
        if reply[0] == b"fenced":
            raise Condemned(self.identity)
        return int(reply[1]), reply[2]


def release_all(claims: Sequence[Claim]) -> list[Ending]:
    """Return the endings that hand these claims back."""
    return [Ending(claim, Release(), "") for claim in claims]


def _settle_order(ending: Ending) -> tuple[bool, int]:
    """Releases last, the newest claim first, so that the oldest lies foremost."""
    return (True, -ending.claim.number) if isinstance(ending.outcome, Release) else (False, 0)


def _by_place(endings: list[Ending]) -> list[list[Ending]]:
    places = {ending.claim.place for ending in endings}
    if len(places) < 2:
        return [endings] if endings else []
    return [[ending for ending in endings if ending.claim.place == place] for place in sorted(places)]


def _ack(group: list[Ending]) -> list[Arg]:
    # The ids as one text: they are looked at only while there are crashes on record.
    jids = orjson.dumps([ending.jid for ending in group])
    return [group[0].claim.place + 1, len(group), jids, *[ending.claim.payload for ending in group]]


def _settle(ending: Ending) -> tuple[Arg, ...]:
    claim, outcome = ending.claim, ending.outcome
    match outcome:
        case Retry():
            return ("retry", claim.place + 1, claim.payload, outcome.payload, repr(outcome.at), ending.jid)
        case Bury():
            return ("bury", claim.place + 1, claim.payload, outcome.payload, "", ending.jid)
        case Drop():
            return ("drop", claim.place + 1, claim.payload, "", "", ending.jid)
        case Release():
            return ("release", claim.place + 1, claim.payload, "", "", ending.jid)
        case Done():
            raise AssertionError("acks go by groups")


class Doorbell:
    """One BLMOVE that waits in the server for the next job of one place."""

    def __init__(self, holding: Holding, place: int) -> None:
        self.holding = holding
        self.place = place
        self.link = holding.store.link(f"doorbell {place}")

    def arm(self) -> None:
        """Send the BLMOVE. Its reply makes `fileno` readable."""
        self.link.identify()
        block = self.holding.store.config.block
        holding = self.holding
        self.link.send("BLMOVE", holding.public[self.place], holding.private[self.place], "RIGHT", "LEFT", block)

    def fileno(self) -> int:
        """Return the socket to wait on."""
        return self.link.fileno()

    @property
    def generation(self) -> int:
        """The number of the connection: a new one may have the old one's descriptor."""
        return self.link.generation

    def answer(self) -> Claim | None:
        """Read the reply: a claim, or None when the time ran out or the doorbell was ended."""
        try:
            payload = self.link.receive()
        except Refused as refusal:
            if refusal.code == "UNBLOCKED":
                return None
            raise
        return None if payload is None else self.holding.claim(payload, self.place)

    def end(self, link: Link) -> bool:
        """Ask the server, over another link, to end the wait; True unless that is refused.

        The reply still has to be read: the job may have come first.
        """
        try:
            link.call("CLIENT", "UNBLOCK", self.link.client_id or 0, "TIMEOUT")
        except Refused:
            return False
        return True
