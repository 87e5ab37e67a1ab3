"""The bare loop: reliq's turn over one socket, without a worker. `python -m bench.bare URL TURN DEPTH`.

Claims TURN jobs per call, runs none, and settles them in a later call. DEPTH turns are on their way at a time: with 2
the server works on one while this program reads the other.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import hiredis

from reliq.config import Config
from reliq.store.claims import CLAIM_BYTES
from reliq.store.connection import Link
from reliq.store.keys import Keyspace
from reliq.store.scripts import Library, Scripts

IDLE = 0.001
"""Seconds before it asks again when there was nothing."""


class _Recorder:
    """Stands where Scripts expects a link, and keeps the command instead of sending it."""

    def __init__(self) -> None:
        self.command: tuple[Any, ...] = ()

    def call(self, *command: Any) -> None:
        self.command = command


class Loop:
    """One connection, one queue `default`."""

    def __init__(self, url: str, turn: int) -> None:
        self._turn = turn
        self._number = 0
        self._held = 0
        self._keys = Keyspace()
        self._config = Config()
        self._identity = f"bare:{os.getpid()}:{os.urandom(6).hex()}"
        self._recorder = _Recorder()
        library = Library.load()
        self._scripts = Scripts(cast(Link, self._recorder), library)
        self._reader = hiredis.Reader()
        self._socket = _connect(url)
        self._send(("SCRIPT", "LOAD", library.texts["turn"]))
        self._receive()

    def run(self, depth: int) -> None:
        """Go on until killed."""
        for _ in range(depth):
            self._ask([])
        while True:
            reply = self._receive()
            claims = reply[2]
            if not claims and not self._held:
                time.sleep(IDLE)
            self._ask(claims[0][1:] if claims else [])

    def _ask(self, payloads: list[bytes]) -> None:
        """Send a turn that settles these."""
        self._held = len(payloads)
        self._number += 1
        keys, now = self._keys, time.time()
        self._scripts.turn(
            heartbeat=keys.heartbeat(self._identity),
            turn=keys.turn(self._identity),
            crashes=keys.crashes,
            paused=keys.paused,
            retry=keys.retry,
            dead=keys.dead,
            processed=keys.stat("processed"),
            processed_today=keys.stat("processed", now),
            failed=keys.stat("failed"),
            failed_today=keys.stat("failed", now),
            trimmed=keys.stat("trimmed"),
            public=(keys.queue("default"),),
            private=(keys.private(self._identity, "default"),),
            number=self._number,
            capacity=self._turn,
            max_bytes=CLAIM_BYTES,
            now=now,
            dead_before=now - self._config.dead_for,
            dead_limit=self._config.dead_limit,
            order_count=1,
            ack_groups=1,
            rest=[1, "default", 0, self._turn, 1, len(payloads), "[]", *payloads],
        )
        self._send(self._recorder.command)

    def _send(self, command: tuple[Any, ...]) -> None:
        self._socket.sendall(hiredis.pack_command(command))

    def _receive(self) -> Any:
        while (reply := self._reader.gets()) is False:
            data = self._socket.recv(1 << 20)
            if not data:
                raise SystemExit("the server closed the connection")
            self._reader.feed(data)
        if isinstance(reply, Exception):
            raise SystemExit(f"the server refused: {reply}")
        if isinstance(reply, list) and reply[0] != b"ok":
            raise SystemExit(f"the turn was refused: {reply}")
        return reply


def _connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        made = socket.socket(socket.AF_UNIX)
        made.connect(parts.path)
        return made
    made = socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 6379))
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def main() -> None:
    """Say that it is ready, by a file in the working directory, and go on until killed."""
    url, turn, depth = sys.argv[1:]
    loop = Loop(url, int(turn))
    Path("ready").touch()
    loop.run(int(depth))


if __name__ == "__main__":
    main()
