"""Pieces of reliq, broken on purpose: each by a change of one script's text, or of one method.

What crash points and interleavings cannot find here, they could not find in reliq either.
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from unittest.mock import patch

import attrs

from reliq.errors import Unreachable
from reliq.server.fetcher import SuperFetch
from reliq.store.claims import Ending, Holding, Turned
from reliq.store.keys import Key
from reliq.store.processes import Processes
from reliq.store.scripts import Library
from reliq.store.sets import Sets, _promoted


@attrs.frozen
class Mutant:
    """A broken piece: which script has which text instead, or what is patched while it lives."""

    scripts: dict[str, tuple[str, str]] = attrs.Factory(dict)
    patched: Callable[[], AbstractContextManager[Any]] = nullcontext

    def library(self) -> Library:
        """The scripts, broken."""
        whole = Library.load()
        texts = dict(whole.texts)
        for name, (old, new) in self.scripts.items():
            assert texts[name].count(old) == 1, f"{name}.lua has changed: {old!r}"
            texts[name] = texts[name].replace(old, new)
        shas = {name: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest() for name, text in texts.items()}
        return Library(texts, shas)


def _resending_turn(  # noqa: PLR0917 - the signature of Holding.turn
    self: Holding,
    link: Any,
    endings: Sequence[Ending],
    order: Sequence[int],
    capacity: int,
    now: float,
    turn: Callable[..., Turned] = Holding.turn,
) -> Turned:
    try:
        return turn(self, link, endings, order, capacity, now)
    except Unreachable:
        return turn(self, link, endings, order, capacity, now)


def _popping_promote(self: Sets, source: Key, members: list[bytes], now: float) -> int:
    for member in members:
        queue, payload = _promoted(member, now)
        if self.link.call("ZREM", source, member):
            self.link.call("LPUSH", self._store.keys.queue(queue or "default"), payload)
    return len(members)


def _recover_without_asking(self: Holding, link: Any) -> tuple[int, list[list[bytes]]]:
    number = self.number
    _, lists = _RECONCILE(self, link)
    return number, lists  # as if the last turn had always been applied


_RECONCILE = Holding.reconcile

MUTANTS: dict[str, tuple[Mutant, str]] = {
    "condemn without a look": (Mutant({"condemn": ("if not proven then", "if false then")}), "false-alarm"),
    "settle again after a lost reply": (
        Mutant(patched=lambda: patch.object(Holding, "turn", _resending_turn)),
        "equal-bytes",
    ),
    "recover without ending the doorbells": (
        Mutant(patched=lambda: patch.object(SuperFetch, "_end_bells", lambda self: None)),
        "recover-a-doorbell",
    ),
    "promote by pop and push": (
        Mutant(patched=lambda: patch.object(Sets, "_promote", _popping_promote)),
        "promote",
    ),
    "recover as if all was applied": (
        Mutant(patched=lambda: patch.object(Holding, "reconcile", _recover_without_asking)),
        "recover-a-turn-that-was-not-applied",
    ),
    "never compare lengths": (
        Mutant(patched=lambda: patch.object(SuperFetch, "suspicious", property(lambda self: False))),
        "recover-what-came-late",
    ),
    "no walk after leaving": (
        Mutant(patched=lambda: patch.object(Processes, "leftovers", lambda self, entries: [False] * len(entries))),
        "leave-at-the-last-moment",
    ),
    "enqueue without a mark": (
        Mutant({"enqueue": ("if number <= tonumber(redis.call('GET', sent) or 0) then", "if false then")}),
        "enqueue",
    ),
    "charge everybody": (Mutant({"reap": ("    if started[jid] then", "    if true then")}), "release-what-waits"),
    "a success clears nothing": (Mutant({"turn": ("  if crashed > 0 then", "  if false then")}), "quarantine"),
}
"""By name: the broken piece, and a path on which it shows.

Some guards do not show when they alone are taken away (the number of a turn, the verdict that it asks for, the removal
that it counts): another one stands behind each. They are judged one by one in tests/lua and tests/counterexamples.
"""
