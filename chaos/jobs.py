"""The application that the pods of a run work for. Every job tells the collector what it does, when it does it.

A line that was sent is there, even if the process is killed at its next instruction: the kernel keeps it for the
reader. `CHAOS_COLLECTOR` says where the collector listens (`unix:PATH` or `tcp:HOST:PORT`), `CHAOS_CODE` which version
of the application this is: `new` knows the job `newcomer`, `old` does not.
"""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import json
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import reliq
from chaos.records import now

app = reliq.Reliq(os.environ.get("CHAOS_URL"), retry=True)
CODE = os.environ.get("CHAOS_CODE", "new")
MIB = 1024 * 1024


def digest(args: Any) -> str:
    """Return what identifies a job's arguments: the same for the same JSON, every digit of it."""
    text = json.dumps(args, sort_keys=True, separators=(",", ":"))
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:16]


class Wire:
    """The connection to the collector: one for each process, made when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._pid = 0

    def say(self, **line: Any) -> None:
        """Send one line. It is on its way to the collector when this returns."""
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            if self._socket is None or self._pid != os.getpid():
                self._socket, self._pid = _connect(os.environ["CHAOS_COLLECTOR"]), os.getpid()
            self._socket.sendall(data)


def _connect(address: str) -> socket.socket:
    kind, _, where = address.partition(":")
    if kind == "unix":
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(where)
        return sock
    host, _, port = where.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=10)


wire = Wire()


class Attempt:
    """One run of a job, as it tells the collector about itself."""

    def __init__(self, token: int, args: list[Any]) -> None:
        self.run = secrets.token_hex(8)
        self.token = token
        self._attempt = reliq.current_attempt()
        self.number = self._attempt.attempt
        wire.say(
            what="start",
            run=self.run,
            token=token,
            jid=self._attempt.jid,
            attempt=self._attempt.attempt,
            identity=self._attempt.identity,
            pid=os.getpid(),
            digest=digest(args),
            at=now(),
            code=CODE,
        )

    def effect(self, *, fenced: bool) -> None:
        """Write to the outside world, with a fence number or without."""
        fence = None
        if fenced:
            fence = self._attempt.fence
            wire.say(what="fence", run=self.run, fence=fence, at=now())
        wire.say(what="effect", run=self.run, token=self.token, fence=fence, at=now())

    def dies(self) -> None:
        """Announce that this process is about to kill itself."""
        wire.say(what="dies", run=self.run, pid=os.getpid(), at=now())

    def ends(self, outcome: str) -> None:
        """Say how it ended."""
        wire.say(what="end", run=self.run, outcome=outcome, at=now())


@contextmanager
def attempt(token: int, *args: Any) -> Iterator[Attempt]:
    """Report a run from its start to its end, whatever that is."""
    this = Attempt(token, [token, *args])
    try:
        yield this
        this.ends("done")
    except (reliq.Interrupt, asyncio.CancelledError):
        this.ends("interrupted")  # also when it strikes right after the last line: the later word counts
        raise
    except BaseException:
        this.ends("failed")
        raise


def _spend(seconds: float) -> None:
    # In slices, so that an interruption gets through: it is raised between two bytecodes.
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.02))


@app.job
def work(token: int, seconds: float, odd: Any) -> None:
    """Take a while, write once, with a fence drawn at the beginning."""
    with attempt(token, seconds, odd) as this:
        this.effect(fenced=True)
        _spend(seconds)


@app.job
def late_fence(token: int, seconds: float, odd: Any) -> None:
    """Draw the fence at the end only: a run that was declared dead meanwhile must not get one."""
    with attempt(token, seconds, odd) as this:
        _spend(seconds)
        this.effect(fenced=True)


@app.job
def quick(token: int, odd: Any) -> None:
    """Do nothing else."""
    with attempt(token, odd) as this:
        this.effect(fenced=False)


@app.job
async def coroutine(token: int, seconds: float, odd: Any) -> None:
    """The same as work, as a coroutine."""
    with attempt(token, seconds, odd) as this:
        await asyncio.sleep(seconds)
        this.effect(fenced=False)


@app.job
def flaky(token: int, odd: Any) -> None:
    """Fail once, then succeed: some twenty seconds later, as the back-off wants it."""
    with attempt(token, odd) as this:
        if this.number == 1:
            raise RuntimeError("the first attempt always fails")
        this.effect(fenced=False)


@app.job(retry=False)
def once(token: int, fails: bool, odd: Any) -> None:
    """A job that is forgotten when it fails."""
    with attempt(token, fails, odd):
        if fails:
            raise RuntimeError("this job fails and is not retried")


@app.job
def parent(token: int, odd: Any) -> None:
    """Send another job."""
    with attempt(token, odd):
        child = 10**12 + secrets.randbits(39)
        args = [child, odd]
        sent = {"token": child, "name": "quick", "queue": "default", "via": "job", "kind": "quick"}
        sent |= {"digest": digest(args), "expected": "done", "sent_at": now()}
        wire.say(what="sent", **sent)
        try:
            jid = quick.enqueue(child, odd)
        except reliq.Refused:
            wire.say(what="sent", **sent, known_at=now(), answer="refused")
            raise
        except reliq.Unreachable:
            wire.say(what="sent", **sent, known_at=now(), answer="unknown")
            raise
        wire.say(what="sent", **sent, known_at=now(), answer="acked", jid=jid)


@app.job
def gil(token: int, seconds: float) -> None:
    """Sit in C with the interpreter's lock held: nothing else of this process can run."""
    with attempt(token, seconds):
        ctypes.PyDLL(None).usleep(int(seconds * 1e6))


@app.job
def killer(token: int) -> None:
    """Kill its own process, every time."""
    with attempt(token) as this:
        this.dies()
        os.kill(os.getpid(), signal.SIGKILL)


@app.job
def segfault(token: int) -> None:
    """Read where there is nothing."""
    with attempt(token) as this:
        this.dies()
        ctypes.string_at(0)


@app.job
def leaves(token: int) -> None:
    """End the process without a word."""
    with attempt(token) as this:
        this.dies()
        os._exit(3)


@app.job
def hog(token: int) -> None:
    """Allocate without end, until somebody ends the process; it gives up at 4 GiB, should nobody."""
    with attempt(token) as this:
        this.dies()
        kept: list[bytearray] = []
        while len(kept) < 512:
            kept.append(bytearray(os.urandom(1)) * (8 * MIB))
            time.sleep(0.001)
        raise MemoryError("nobody limits the memory of this pod")


def newcomer(token: int, odd: Any) -> None:
    """A job that only new code knows."""
    with attempt(token, odd) as this:
        this.effect(fenced=False)


if CODE == "new":
    app.job("newcomer")(newcomer)
