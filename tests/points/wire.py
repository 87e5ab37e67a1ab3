"""The wire: every command of an actor goes through here, one at a time, and a fault may strike it.

Faults happen where a process meets its connection, in place of `reliq.store.connection.Link`; all that lies above, and
the server below, is the real thing. A command that waits in the server (BLMOVE) counts when it is sent.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any
from unittest.mock import patch

import attrs
import redis

from reliq.config import Config
from reliq.errors import Refused, Unreachable
from reliq.store.connection import Link
from reliq.store.opening import Store
from reliq.store.scripts import Library
from tests.points.sockets import has_data, number_of, waits

Command = tuple[Any, ...]


class Died(BaseException):
    """The process ended here, without another word."""


class Mode(StrEnum):
    """What a fault does to a command and to the one who sends it."""

    BEFORE = "before"
    """The process dies; the command was not sent."""
    AFTER = "after"
    """The server applies it; the process dies before it knows."""
    LOST = "lost"
    """The server applies it; the connection breaks before the reply is there."""
    LATE = "late"
    """The connection breaks; the command arrives later over that connection, if the server has not closed it."""
    STRAY = "stray"
    """As late, where no one may close connections: it arrives in any case."""
    FROZEN = "frozen"
    """The process stands still before it sends, longer than anybody waits."""
    STALLED = "stalled"
    """The server applies it; the process stands still before it knows, longer than anybody waits."""
    CUT = "cut"
    """The connection breaks; the command never arrives."""


@attrs.frozen
class Fault:
    """A mode, and for what comes late: how many more commands its sender sends before (None: until told)."""

    mode: Mode
    later: int | None = None


class Late:
    """A command on its way, whose sender has given up."""

    def __init__(self, link: "WiredLink", command: Command, fault: Fault) -> None:
        self.wire = link.wire
        self.command = command
        self.left = fault.later
        self.connection: Any = None if fault.mode is Mode.STRAY else link.give_away()
        self._link = link

    def deliver(self) -> None:
        """Let the server read it now; it does not if it has closed the connection."""
        connection, tap = self.connection or self._link.another(), self.wire.tap
        try:
            number = number_of(connection)
            connection.send_packed_command(connection.pack_command(*self.command), check_health=False)
            if self.command[0] == "BLMOVE":
                waits(tap.client, connection, number)
                tap.pending.append(connection)
                tap.applied(self.wire, self.command, None)
                return
            reply = connection.read_response(disconnect_on_error=False)
        except (redis.ConnectionError, redis.TimeoutError):
            assert self.connection is not None, "a new connection was closed"
            connection.disconnect()
            return
        except redis.ResponseError as error:
            reply = error
        connection.disconnect()
        tap.applied(self.wire, self.command, reply)


class Tap:
    """Where the wires of all actors meet.

    `sending` hears of each command before it is sent, `strike` says which fault hits it, `witness` hears when the
    server has applied it, `freeze` lets the rest of the world go on while an actor stands still.
    """

    def __init__(self, client: redis.Redis, library: Library) -> None:
        self.client = client
        self.library = library
        self.wires: list[Wire] = []
        self.late: list[Late] = []
        self.pending: list[Any] = []
        """Connections without an owner, open until the end: of the dead, and of what came late and waits."""
        self.strike: Callable[[Wire, Command], Fault | None] = lambda wire, command: None
        self.witness: Callable[[Wire, Command, Any], None] = lambda wire, command, reply: None
        self.freeze: Callable[[Wire], None] = lambda wire: None
        self.powerless = False
        """Whether a process dies with its machine: its connections stay open, the server hears nothing of it."""
        self.sending: Callable[[Command], None] = lambda command: None
        self.trace: list[object] = []

    def applied(self, wire: "Wire", command: Command, reply: Any) -> None:
        """The server has applied a command, or refused it."""
        self.witness(wire, command, reply)

    def deliver(self, *, only: "Wire | None" = None) -> int:
        """Deliver what is on its way: all of it, or what the next command of a wire lets through; how many."""
        due = []
        for late in self.late:
            if only is None:
                due.append(late)
            elif late.wire is only and late.left is not None:
                late.left -= 1
                due += [late] if late.left < 0 else []
        for late in due:
            self.late.remove(late)
            self.trace.append(f"{late.wire.name}: what was given up arrives")
            late.deliver()
        return len(due)

    def forgive(self) -> None:
        """What was struck and has not noticed yet, a doorbell nobody has read, never will."""
        for wire in self.wires:
            for link in wire.links:
                link.forgive()

    def close(self) -> None:
        """Close what has no owner."""
        for connection in [*self.pending, *(late.connection for late in self.late)]:
            if connection is not None:
                connection.disconnect()
        self.pending.clear()
        self.late.clear()


class Wire:
    """One actor's way to the server."""

    def __init__(self, tap: Tap, name: str) -> None:
        self.tap = tap
        self.name = name
        self.moves = 0
        """Commands that moved jobs."""
        self.dead = False
        self.cut = False
        self._busy = False
        self.links: list[WiredLink] = []

    def once(self, step: Callable[[], bool]) -> bool:
        """Take a step, unless this actor is in the middle of one: then False."""
        if self._busy:
            return False
        self._busy = True
        try:
            return step()
        finally:
            self._busy = False

    def die(self) -> None:
        """End the process."""
        self.dead = True
        for link in self.links:
            if self.tap.powerless:
                link.abandon()
            else:
                link.close()


class WiredLink(Link):
    """A link whose commands can be struck."""

    def __init__(self, url: str, config: Config, wire: Wire, name: str) -> None:
        super().__init__(url, config, name)
        self.wire = wire
        wire.links.append(self)
        self._command: Command = ()
        self._fault: Fault | None = None
        self.broken = False
        """The connection has ended under a command, which `receive` will say."""

    def send(self, *command: Any) -> None:
        wire = self.wire
        if wire.dead:
            raise Died(wire.name)
        wire.tap.sending(command)
        fault = wire.tap.strike(self.wire, command)
        mode = fault.mode if fault else None
        if mode is Mode.BEFORE:
            wire.die()
            raise Died(wire.name)
        if mode is Mode.FROZEN:
            wire.tap.freeze(wire)
        wire.tap.deliver(only=wire)
        self._command, self._fault = command, fault
        if wire.cut or mode is Mode.CUT:
            self.broken = True
            return
        if fault is not None and mode in {Mode.LATE, Mode.STRAY}:
            wire.tap.late.append(Late(self, command, fault))
            self.broken = True
            return
        super().send(*command)
        if command[0] == "BLMOVE":
            waits(wire.tap.client, self._made, self.client_id or 0)
            wire.tap.applied(wire, command, None)
        if mode is Mode.AFTER:
            self._die_applied()

    def receive(self) -> Any:
        wire, command, fault = self.wire, self._command, self._fault
        if wire.dead:
            raise Died(wire.name)
        if self.broken or wire.cut:
            self._break("the connection is cut")
        reply: Any
        self._command, self._fault = (), None
        try:
            reply = super().receive()
        except Refused as refusal:
            reply = refusal
        wire.tap.applied(wire, command, reply)
        if fault is not None and fault.mode is Mode.LOST:
            self._break("the reply is lost")
        if fault is not None and fault.mode is Mode.STALLED:
            wire.tap.freeze(wire)
        if isinstance(reply, Refused):
            raise reply
        return reply

    def call_many(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        # One by one: a pipeline can break behind each of its commands.
        replies: list[Any] = []
        for command in commands:
            self.send(*command)
            try:
                replies.append(self.receive())
            except Refused as refusal:
                if self._made is None:
                    raise
                replies.append(refusal)
        return replies

    def close(self) -> None:
        self.broken = False
        super().close()

    def forgive(self) -> None:
        """Nothing happens to the reply that is on its way."""
        self._fault = None

    def readable(self) -> bool:
        """Whether `receive` would return at once."""
        if self.broken:
            return True
        return not self.wire.cut and self._made is not None and has_data(self._made)

    def give_away(self) -> Any:
        """Hand over the connection to what is on its way."""
        made = self._connection()
        self._made = None
        return made

    def another(self) -> Any:
        """Return a connection of which the server knows nothing."""
        made: Any = self._pool.make_connection()
        made.connect()
        return made

    def abandon(self) -> None:
        """Leave the connection open, with nobody at this end."""
        if self._made is not None:
            self.wire.tap.pending.append(self._made)
            self._made = None

    def _break(self, why: str) -> None:
        self.close()
        raise Unreachable(f"{self.wire.name}: {why}")

    def _die_applied(self) -> None:
        if self._command[0] != "BLMOVE":
            try:
                reply = super().receive()
            except Refused as refusal:
                reply = refusal
            self.wire.tap.applied(self.wire, self._command, reply)
        self.wire.die()
        raise Died(self.wire.name)


class WiredStore(Store):
    """A store whose links are an actor's."""

    def __init__(self, config: Config, wire: Wire) -> None:
        # The scripts are read once, and may be broken on purpose.
        with patch.object(Library, "load", lambda: wire.tap.library):
            super().__init__(config)
        self._wire = wire

    def link(self, name: str) -> WiredLink:
        return WiredLink(self.url, self.config, self._wire, name)
