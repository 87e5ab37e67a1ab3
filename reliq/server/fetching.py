"""Fetch: what the loop asks of a fetcher, and which one a role gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from reliq.clock import Clock
from reliq.server.basic import BasicFetch
from reliq.server.ears import Bell
from reliq.server.fetcher import SuperFetch
from reliq.server.order import Order
from reliq.server.role import Role
from reliq.store.claims import Claim, Ending
from reliq.store.connection import Link
from reliq.store.opening import Store


class Fetch(Protocol):
    """Claims and settles for one identity. `fetcher.py` says what each verb means."""

    link: Link

    @property
    def number(self) -> int: ...
    @property
    def suspicious(self) -> bool: ...
    def sockets(self) -> Sequence[Bell]: ...
    def next_look(self) -> float | None: ...
    def clients(self) -> tuple[int, ...]: ...
    def connect(self) -> None: ...
    def exchange(self, endings: list[Ending], limits: Sequence[int]) -> list[Claim]: ...
    def rest(self) -> None: ...
    def ring(self, bell: Any) -> Claim | None: ...
    def quiet(self) -> list[Claim]: ...
    def recover(
        self, endings: list[Ending], waiting: Sequence[Claim]
    ) -> tuple[list[Claim], list[Ending], list[Claim]]: ...
    def close(self) -> None: ...


def fetch_of(role: Role, store: Store, identity: str, clock: Clock) -> Fetch:
    """Return the fetcher that the role asks for."""
    order = Order(role.worker)
    if role.worker.superfetch:
        return SuperFetch(store, order, identity, role.queues, clock, quarantine=role.quarantine)
    return BasicFetch(store, order, identity, role.queues, clock)
