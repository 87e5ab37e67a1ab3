"""A proxy between client and server that understands the protocol, to break connections at chosen moments.

It runs in a thread of its own and hands whole commands and whole replies on, so a test can say: "apply the next call of
this script, but lose its reply".
"""

import asyncio
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import redis

from tests.support.eventually import eventually
from tests.support.servers import connect

T = TypeVar("T")
Command = tuple[bytes, ...]
Match = Callable[[Command], bool]
LIMIT = 64 * 1024 * 1024
"""Bytes that one line or buffer may have."""


def named(name: str) -> Match:
    """Commands of this name, as `named("LMOVE")`."""
    return lambda command: command[0].upper() == name.upper().encode()


def script(sha: str) -> Match:
    """Calls of the script with this sha1."""
    return lambda command: command[0].upper() == b"EVALSHA" and command[1].lower() == sha.lower().encode()


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
    """Waits for one command. `sprung` is what it caught, `reply` what the server answered to it, raw."""

    def __init__(self, match: Match, kind: Literal["drop", "hold"]) -> None:
        self.match = match
        self.kind = kind
        self.sprung: Command | None = None
        self.reply: bytes | None = None
        self.delivered = asyncio.Event()

    def wait(self, within: float = 5.0) -> Command:
        """The command it caught (`drop`: and that the server has applied)."""

        def caught() -> Command | None:
            return self.sprung if self.kind == "hold" or self.reply is not None else None

        return eventually(caught, within, "the trap catches its command") or ()


class _Link:
    """One client connection and its own connection to the server."""

    def __init__(self, proxy: "Proxy", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.proxy = proxy
        self.client_reader, self.client = reader, writer
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

    async def _frame(self, reader: asyncio.StreamReader) -> tuple[bytes, Command]:
        """The next element as soon as the proxy lets it flow; the end of a connection flows like anything else."""
        try:
            frame = await _read_frame(reader)
        except (OSError, asyncio.IncompleteReadError):
            await self.proxy.flowing.wait()
            raise
        await self.proxy.flowing.wait()
        return frame

    async def _commands(self) -> None:
        while True:
            raw, command = await self._frame(self.client_reader)
            trap = self.proxy.catch(command)
            if trap is not None:
                trap.sprung = command
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
            raw, _ = await self._frame(self.server_reader)
            # Pushes answer no command.
            trap = None if raw[:1] in b">|" else await self.on_its_way.get()
            if trap is not None:
                trap.reply = raw
                return
            if not self.client.transport.is_closing():
                self.client.write(raw)
                await self.client.drain()


class Proxy:
    """Listens on a unix socket and on a loopback port, hands on to the server's unix socket.

    `cut()` ends all connections, `refuse()` and `accept()` close and open the door for new ones, `freeze()` and
    `thaw()` stop and start the flow both ways (what was sent meanwhile arrives at the thaw, even from clients that have
    gone), and `drop_reply()` and `hold()` set traps for the next matching command.
    """

    def __init__(self, upstream: Path) -> None:
        self.upstream = upstream
        self.directory = Path(tempfile.mkdtemp(prefix="reliq-", dir="/tmp"))
        self.socket = self.directory / "p"
        self.port = 0
        self._traps: list[Trap] = []
        self._links: set[asyncio.Task[None]] = set()
        self._doors: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self.flowing = asyncio.Event()
        self.flowing.set()
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

    def freeze(self) -> None:
        """Nothing flows any more, in either direction; nobody is told."""
        self._call(self._flow(False))

    def thaw(self) -> None:
        """Everything flows again, first of all what was stopped."""
        self._call(self._flow(True))

    def drop_reply(self, match: Match) -> Trap:
        """The server applies the next matching command, but the client sees the connection end instead of the reply."""
        return self._set(Trap(match, "drop"))

    def hold(self, match: Match) -> Trap:
        """The next matching command is kept back, its client sees the connection end; `deliver` sends it on later."""
        return self._set(Trap(match, "hold"))

    def deliver(self, trap: Trap, within: float = 5.0) -> bytes:
        """Send the command that a `hold` caught on to the server, and return the raw reply."""
        trap.wait(within)
        self._loop.call_soon_threadsafe(trap.delivered.set)
        return eventually(lambda: trap.reply, within, "the server answers to the delivered command") or b""

    def close(self) -> None:
        """End all connections and the thread."""
        self._call(self._refuse())
        self._call(self._cut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def catch(self, command: Command) -> Trap | None:
        """The trap that this command springs, which is used up by it."""
        trap = next((trap for trap in self._traps if command and trap.match(command)), None)
        if trap is not None:
            self._traps.remove(trap)
        return trap

    def _set(self, trap: Trap) -> Trap:
        async def add() -> None:
            self._traps.append(trap)

        self._call(add())
        return trap

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        try:
            await _Link(self, reader, writer).run()
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self._links.discard(task)

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

    async def _flow(self, on: bool) -> None:
        if on:
            self.flowing.set()
        else:
            self.flowing.clear()

    async def _cut(self) -> None:
        links = list(self._links)
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)
