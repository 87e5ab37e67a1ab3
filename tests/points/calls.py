"""Commands as the server read them: which script, which identity, which jobs."""

from collections.abc import Iterator
from typing import Any

import attrs

from reliq.errors import StoreError
from reliq.store.scripts import Library

TURN_FIXED = 8
"""Arguments of `turn` before the order of the queues."""

READERS = {
    *("PING", "INFO", "CLIENT", "SCRIPT", "HGET", "HVALS", "EXISTS", "ZCARD", "ZRANGEBYSCORE", "SMEMBERS"),
    "overdue",
}
"""What changes nothing in Redis."""


@attrs.frozen
class Settle:
    """One settle of a turn that removed its job: `done`, `retry`, `bury`, `drop` or `release`."""

    kind: str
    payload: bytes
    replacement: bytes


@attrs.frozen
class Call:
    """A command and its reply. `name` is the script's, or the command's own."""

    actor: str
    name: str
    keys: tuple[str, ...]
    args: tuple[bytes, ...]
    reply: Any

    @property
    def reads(self) -> bool:
        """Whether it cannot have changed anything."""
        return self.name in READERS or (isinstance(self.reply, Exception) and "NOSCRIPT" in str(self.reply))

    @property
    def identity(self) -> str:
        """Whom it is about: the one in its first key, if that is a heartbeat."""
        first = self.keys[0] if self.keys else ""
        return first.removeprefix("heartbeat:") if first.startswith("heartbeat:") else ""

    @property
    def refused(self) -> bool:
        """Whether the server answered with an error, or the script said no."""
        if isinstance(self.reply, StoreError | Exception):
            return True
        return isinstance(self.reply, list) and bool(self.reply) and self.reply[0] in {b"fenced", b"stale", b"alive"}

    def effective_settles(self) -> list[Settle]:
        """The settles of a turn that took effect, by its own word."""
        if self.name != "turn" or self.refused:
            return []
        refused = set(self.reply[1])
        return [settle for position, settle in enumerate(self.settles(), 1) if position not in refused]

    def settles(self) -> Iterator[Settle]:
        """The settles of a turn, in their order."""
        order, groups = int(self.args[6]), int(self.args[7])
        at = TURN_FIXED + 4 * order
        for _ in range(groups):
            end = at + 3 + int(self.args[at + 1])
            yield from (Settle("done", payload, b"") for payload in self.args[at + 3 : end])
            at = end
        for start in range(at, len(self.args), 6):
            kind, _, payload, replacement, _, _ = self.args[start : start + 6]
            yield Settle(kind.decode(), payload, replacement)

    def pushed(self) -> tuple[bytes, ...]:
        """The payloads that a producer's call has added."""
        if self.refused or not self.reply:
            return ()
        if self.name == "enqueue":
            return self.args[3:]
        return self.args[3::2] if self.name == "schedule" else ()

    def changes(self) -> Iterator[tuple[bytes, bytes]]:
        """Payloads and what was written in their place."""
        if self.name == "turn":
            for settle in self.settles():
                if settle.kind in {"retry", "bury"}:
                    yield settle.payload, settle.replacement
        elif self.name == "promote":
            rest = self.args[2 + int(self.args[1]) :]
            yield from zip(rest[::3], rest[1::3], strict=True)

    def buried(self) -> list[bytes]:
        """The payloads that a reaper has buried."""
        return list(self.reply[4]) if self.name == "reap" and not self.refused else []

    def __str__(self) -> str:
        """One line for a trace."""
        names = " ".join(key.split(":", 1)[0] if key.startswith("heartbeat") else key for key in self.keys[:1])
        return f"{self.actor}: {self.name} {names or _cut(self.args)} -> {_cut(self.reply)}"


def _cut(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _bytes(part: Any) -> bytes:
    return part if isinstance(part, bytes) else str(part).encode()


class Reader:
    """Reads commands of one library of scripts."""

    def __init__(self, library: Library) -> None:
        self._names = {sha: name for name, sha in library.shas.items()}

    def name(self, command: tuple[Any, ...]) -> str:
        """The script's name, or the command's own."""
        word = str(command[0]).upper()
        return self._names[str(command[1])] if word == "EVALSHA" else word

    def read(self, actor: str, command: tuple[Any, ...], reply: Any) -> Call:
        """Tell what a command was."""
        name = self.name(command)
        if str(command[0]).upper() != "EVALSHA":
            return Call(actor, name, (), tuple(map(_bytes, command[1:])), reply)
        count = int(command[2])
        keys = tuple(_bytes(key).decode() for key in command[3 : 3 + count])
        return Call(actor, name, keys, tuple(map(_bytes, command[3 + count :])), reply)
