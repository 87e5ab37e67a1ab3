"""Jobs that wait in sorted sets: finding those that are due, and the leadership of the one who moves them."""

from __future__ import annotations

from reliq.edit import with_fields
from reliq.errors import BadPayload, ConfigError
from reliq.job import check_queue, decode
from reliq.outcome import bury_payload
from reliq.store.connection import Link
from reliq.store.keys import Key
from reliq.store.opening import Store
from reliq.store.scripts import Arg

PROMOTE_ITEMS = 500
"""Jobs of one call: what a server does in a few milliseconds."""

PROMOTE_BYTES = 1024 * 1024


class Sets:
    """The store's verbs about `schedule` and `retry`, over one link. Not for several threads at once."""

    def __init__(self, store: Store, link: Link) -> None:
        self.link = link
        self._store = store
        self._scripts = store.scripts(link)
        self._items = PROMOTE_ITEMS  # fewer while payloads are large: what is read is bounded, too

    def promote(self, now: float) -> int:
        """Move one batch of jobs that are due at `now` (epoch seconds) to their queues; return how many.

        Atomic per batch; a job that somebody else moved or moved away meanwhile is left alone. One that does
        not say its queue, or cannot be read, goes to the dead set.
        """
        keys = self._store.keys
        due = self.link.call_all(
            [("ZRANGEBYSCORE", key, "-inf", repr(now), "LIMIT", 0, self._items) for key in (keys.schedule, keys.retry)]
        )
        moved = 0
        for source, members in zip((keys.schedule, keys.retry), due, strict=True):
            if members:
                moved += self._promote(source, members, now)
        return moved

    def _promote(self, source: Key, members: list[bytes], now: float) -> int:
        keys = self._store.keys
        places: dict[str, int] = {}
        rest: list[Arg] = []
        size = 0
        for member in members:
            queue, payload = _promoted(member, now)
            place = 0 if queue is None else places.setdefault(queue, len(places) + 1)
            rest += (member, payload, place)
            size += 2 * len(member)
            if size > PROMOTE_BYTES:
                self._items = max(1, len(rest) // 3)
                break  # what is left is still due: the next call takes it
        else:
            self._items = min(PROMOTE_ITEMS, 2 * self._items)
        return self._scripts.promote(
            source=source,
            queues=keys.queues,
            dead=keys.dead,
            target=[keys.queue(name) for name in places],
            now=now,
            name_count=len(places),
            rest=[*places, *rest],
        )

    def lead(self, duty: str, owner: str, seconds: float) -> bool:
        """Take or renew the leadership of a duty; False while another one leads."""
        number = self._scripts.lease(
            lease=self._store.keys.lease(duty),
            counter=self._store.keys.lease_number(duty),
            owner=owner,
            lease_ms=round(seconds * 1000),
        )
        return number > 0


def _promoted(member: bytes, now: float) -> tuple[str | None, bytes]:
    # `enqueued_at` is the one field that promotion sets; all other text stays as it was.
    try:
        queue = decode(member).queue
        if queue is None:
            return None, bury_payload(member, "BadPayload", "the payload names no queue", now)
        check_queue(queue)
        return queue, with_fields(member, {"enqueued_at": now})
    except (BadPayload, ConfigError) as error:
        return None, bury_payload(member, "BadPayload", str(error), now)
