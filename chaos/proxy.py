"""A proxy between client and server that understands the protocol, to break connections at chosen moments.

It runs in a thread of its own and hands whole commands and whole replies on, so it can be told: "apply the next call of
this script, but lose its reply", or "kill the sender before this one arrives".
"""

import asyncio
import hashlib
import re
import shutil
import socket
import struct
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import redis

from chaos.eventually import eventually
from chaos.servers import connect

T = TypeVar("T")
Command = tuple[bytes, ...]
Match = Callable[[Command], bool]
Sender = Callable[[int], bool]
"""Whether a process is the one that is meant, by its id; 0 over TCP, where nobody knows."""
LIMIT = 64 * 1024 * 1024
"""Bytes that one line or buffer may have."""

_HEAD = re.compile(rb"\A-- (\w+):")


def named(name: str) -> Match:
    """Commands of this name, as `named("LMOVE")`."""
    return lambda command: command[0].upper() == name.upper().encode()


def script(sha: str) -> Match:
    """Calls of the script with this sha1."""
    return lambda command: command[0].upper() == b"EVALSHA" and command[1].lower() == sha.lower().encode()


class Scripts:
    """Which script has which hash, learned from what goes by: the first line of each says its name."""

    def __init__(self) -> None:
        self._names: dict[bytes, str] = {}

    def learn(self, command: Command) -> None:
        """Take note of a SCRIPT LOAD."""
        if len(command) == 3 and command[0].upper() == b"SCRIPT" and command[1].upper() == b"LOAD":
            head = _HEAD.match(command[2])
            if head:
                sha = hashlib.sha1(command[2], usedforsecurity=False).hexdigest()
                self._names[sha.encode()] = head[1].decode()

    def name(self, command: Command) -> str:
        """What a command is called here: `turn` for a call of that script, else as `BLMOVE` or `CLIENT KILL`."""
        if not command:
            return ""
        verb = command[0].upper()
        if verb == b"EVALSHA":
            return self._names.get(command[1].lower(), "EVALSHA")
        if verb in (b"CLIENT", b"SCRIPT", b"CONFIG") and len(command) > 1:
            return f"{verb.decode()} {command[1].upper().decode()}"
        return verb.decode("ascii", "replace")

    def called(self, *names: str) -> Match:
        """Commands that are called so here, as `called("turn", "BLMOVE")`."""
        return lambda command: self.name(command) in names


async def _read_frame(reader: asyncio.StreamReader) -> tuple[bytes, Command]:
    """One whole protocol element: its bytes, and its bulk strings if it is an array of them."""
    line = await reader.readuntil(b"\r\n")
    kind, rest = line[:1], line[1:-2]
    if kind in b"$=!":
        if int(rest) < 0:
            return line, ()
        body = await reader.readexactly(int(rest) + 2)
        return line + body, (body[:-2],)
    if kind in b"*~>%|":
        count = int(rest) * (2 if kind in b"%|" else 1)
        parts = [await _read_frame(reader) for _ in range(max(0, count))]
        return line + b"".join(raw for raw, _ in parts), tuple(value for _, values in parts for value in values)
    return line, ()


class Trap:
    """Waits for one command. `sprung` is what it caught, `reply` what the server answered to it, raw.

    `drop`: the server applies it, the client sees the connection end instead of the reply. `hold`: the client sees the
    connection end; the command arrives later. `before`, `after`, `passed`: `strike` is called with the client's process
    id before the command goes on, when its reply is there and has not gone on, or when that has just gone on; then the
    connection ends. An `after` or `passed` trap with `wanted` is sprung only by a reply whose bulk strings please it.
    """

    def __init__(
        self,
        match: Match,
        kind: Literal["drop", "hold", "before", "after", "passed"],
        strike: Callable[[int], None] | None = None,
        wanted: Callable[[Command], bool] | None = None,
        sender: Sender | None = None,
    ) -> None:
        self.match = match
        self.sender = sender
        self.kind = kind
        self.strike = strike
        self.wanted = wanted
        self.sprung: Command | None = None
        self.reply: bytes | None = None
        self.delivered = asyncio.Event()
        self.loop: asyncio.AbstractEventLoop | None = None

    def catches(self, command: Command, pid: int) -> bool:
        """Whether this is the command it waits for. Asked once for each that goes by, so `match` may count."""
        return (self.sender is None or self.sender(pid)) and self.match(command)

    def deliver_soon(self) -> None:
        """Let a held command go on, if one was caught; from the thread of any proxy's owner."""
        if self.loop is not None:
            self.loop.call_soon_threadsafe(self.delivered.set)

    def wait(self, within: float = 5.0) -> Command:
        """The command it caught (`drop`: and that the server has applied)."""

        def caught() -> Command | None:
            return self.sprung if self.kind in ("hold", "before") or self.reply is not None else None

        return eventually(caught, within, "the trap catches its command") or ()


class _Link:
    """One client connection and its own connection to the server."""

    def __init__(self, proxy: "Proxy", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.proxy = proxy
        self.client_reader, self.client = reader, writer
        self.pid = _peer(writer)
        # What each command on its way is to the server's replies, in order: a trap, or nothing special.
        self.on_its_way: asyncio.Queue[Trap | None] = asyncio.Queue()

    async def run(self) -> None:
        try:
            self.server_reader, self.server = await asyncio.open_unix_connection(str(self.proxy.upstream), limit=LIMIT)
        except OSError:
            self.client.transport.abort()
            return
        pumps = [asyncio.ensure_future(self._commands()), asyncio.ensure_future(self._replies())]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.client.transport.abort()
            self.server.close()  # not abort(): what a client sent before it went still arrives
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _frame(self, reader: asyncio.StreamReader, flowing: asyncio.Event) -> tuple[bytes, Command]:
        """The next element as soon as the proxy lets it flow; the end of a connection flows like anything else."""
        try:
            frame = await _read_frame(reader)
        except (OSError, asyncio.IncompleteReadError):
            await flowing.wait()
            raise
        if self.proxy.delay:
            await asyncio.sleep(self.proxy.delay)
        await flowing.wait()
        return frame

    async def _commands(self) -> None:
        while True:
            raw, command = await self._frame(self.client_reader, self.proxy.commands_flow)
            trap = self.proxy.catch(command, self.pid)
            if trap is not None and trap.kind in ("after", "passed"):
                self.on_its_way.put_nowait(trap)
                self.server.write(raw)
                await self.server.drain()
                continue
            if trap is not None:
                trap.sprung = command
            if trap is not None and trap.kind == "before":
                self._strike(trap)
                return
            if trap is not None and trap.kind == "hold":
                self.client.transport.abort()
                await trap.delivered.wait()
            self.on_its_way.put_nowait(trap)
            self.server.write(raw)
            await self.server.drain()
            if trap is not None:
                await asyncio.Event().wait()  # the other pump ends the link when the reply is here

    async def _replies(self) -> None:
        while True:
            raw, bulks = await self._frame(self.server_reader, self.proxy.replies_flow)
            # Pushes answer no command.
            trap = None if raw[:1] in b">|" else await self.on_its_way.get()
            if trap is not None and trap.kind in ("after", "passed"):
                if trap.sprung is not None or (trap.wanted is not None and not trap.wanted(bulks)):
                    trap = None
                else:
                    self.proxy.used(trap)
                    trap.sprung = bulks
                    if trap.kind == "passed":
                        self.client.write(raw)
                        await self.client.drain()
                    self._strike(trap)
            if trap is not None:
                trap.reply = raw
                return
            if not self.client.transport.is_closing():
                self.client.write(raw)
                await self.client.drain()

    def _strike(self, trap: Trap) -> None:
        if trap.strike is not None:
            trap.strike(self.pid)


def _peer(writer: asyncio.StreamWriter) -> int:
    """The process at the other end of a unix socket; 0 over TCP."""
    sock: socket.socket = writer.get_extra_info("socket")
    if sock.family != socket.AF_UNIX:
        return 0
    pid, _, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return int(pid)


class Proxy:
    """Listens on a unix socket and on a loopback port, hands on to the server's unix socket.

    `cut()` ends all connections, `refuse()` and `accept()` close and open the door for new ones, `freeze()` and
    `thaw()` stop and start the flow, both ways or one (what was sent meanwhile arrives at the thaw, even from clients
    that have gone), `delay` slows every element down; `drop_reply()`, `hold()` and `strike()` set traps for the next
    matching command. `seen` counts commands by name, `dropped` those whose reply was lost.
    """

    def __init__(self, upstream: Path, scripts: Scripts | None = None) -> None:
        self.upstream = upstream
        self.directory = Path(tempfile.mkdtemp(prefix="reliq-", dir="/tmp"))
        self.socket = self.directory / "p"
        self.port = 0
        self.scripts = scripts or Scripts()
        self.seen: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.delay = 0.0
        """Seconds that each command and each reply waits on its way."""
        self._traps: list[Trap] = []
        self._links: set[asyncio.Task[None]] = set()
        self._doors: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self.commands_flow = asyncio.Event()
        self.replies_flow = asyncio.Event()
        self.commands_flow.set()
        self.replies_flow.set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self.accept()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def url(self) -> str:
        """By unix socket."""
        return f"unix://{self.socket}"

    @property
    def tcp_url(self) -> str:
        """By loopback TCP."""
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self, **options: Any) -> redis.Redis:
        """A plain client through the proxy that never resends. Close it."""
        return connect(self.socket, **options)

    @property
    def connections(self) -> int:
        """How many clients are connected now."""
        return len(self._links)

    def cut(self) -> None:
        """End every connection, to the client and to the server, whatever is on its way."""
        self._call(self._cut())

    def refuse(self) -> None:
        """New connections are refused; the open ones stay."""
        self._call(self._refuse())

    def accept(self) -> None:
        """New connections are welcome (as they are at first)."""
        self._call(self._accept())

    def freeze(self, *, commands: bool = True, replies: bool = True) -> None:
        """Nothing flows any more, in these directions; nobody is told."""
        self._call(self._flow(commands=not commands, replies=not replies))

    def thaw(self) -> None:
        """Everything flows again, first of all what was stopped."""
        self._call(self._flow(commands=True, replies=True))

    def drop_reply(self, match: Match, sender: Sender | None = None) -> Trap:
        """The server applies the next matching command, but the client sees the connection end instead of the reply."""
        return self._set(Trap(match, "drop", sender=sender))

    def hold(self, match: Match) -> Trap:
        """The next matching command is kept back, its client sees the connection end; `deliver` sends it on later."""
        return self._set(Trap(match, "hold"))

    def strike(
        self,
        match: Match,
        when: Literal["before", "after", "passed"],
        do: Callable[[int], None],
        wanted: Callable[[Command], bool] | None = None,
        sender: Sender | None = None,
    ) -> Trap:
        """Call `do` with the sender's process id at the next matching command: see Trap."""
        return self._set(Trap(match, when, do, wanted, sender))

    def disarm(self, trap: Trap) -> bool:
        """Take a trap away; False if it was sprung before."""

        async def remove() -> bool:
            there = trap in self._traps
            self.used(trap)
            return there and trap.sprung is None

        return self._call(remove())

    def deliver(self, trap: Trap, within: float = 5.0) -> bytes:
        """Send the command that a `hold` caught on to the server, and return the raw reply."""
        trap.wait(within)
        trap.deliver_soon()
        return eventually(lambda: trap.reply, within, "the server answers to the delivered command") or b""

    def close(self) -> None:
        """End all connections and the thread."""
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def catch(self, command: Command, pid: int) -> Trap | None:
        """The trap that this command springs, which is used up by it unless it waits for a reply."""
        self.scripts.learn(command)
        self.seen[self.scripts.name(command)] += 1
        trap = next((trap for trap in self._traps if command and trap.catches(command, pid)), None)
        if trap is not None and trap.kind not in ("after", "passed"):
            self._traps.remove(trap)
        if trap is not None and trap.kind == "drop":
            self.dropped[self.scripts.name(command)] += 1
        return trap

    def used(self, trap: Trap) -> None:
        """Forget a trap."""
        if trap in self._traps:
            self._traps.remove(trap)

    def _set(self, trap: Trap) -> Trap:
        async def add() -> None:
            trap.loop = self._loop
            self._traps.append(trap)

        self._call(add())
        return trap

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Known before its first step: one that is cancelled before that must be closed as well.
        link = self._loop.create_task(_Link(self, reader, writer).run())
        self._links.add(link)
        link.add_done_callback(self._links.discard)
        link.add_done_callback(lambda _: writer.transport.abort())

    async def _accept(self) -> None:
        if self._doors:
            return
        self.socket.unlink(missing_ok=True)
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self._doors = [
            await asyncio.start_unix_server(self._connected, str(self.socket), limit=LIMIT),
            await asyncio.start_server(self._connected, sock=listener, limit=LIMIT),
        ]

    async def _refuse(self) -> None:
        # Not wait_closed(): from Python 3.12 on that waits for the open connections, which stay.
        for door in self._doors:
            door.close()
        self._doors = []

    async def _flow(self, *, commands: bool, replies: bool) -> None:
        for flow, on in ((self.commands_flow, commands), (self.replies_flow, replies)):
            if on:
                flow.set()
            else:
                flow.clear()

    async def _end(self) -> None:
        await self._refuse()
        for _ in range(10):  # the loop may be in the midst of taking a connection in, which are some steps
            await self._cut()
            await asyncio.sleep(0)

    async def _cut(self) -> None:
        links = list(self._links)
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)
