"""The collector: listens to what jobs say, keeps what is going on in memory, and writes it into the ledger.

It is the outside world, too: it takes the effects of jobs in the order in which they arrive, and refuses a fence number
that is smaller than one it has seen for the same job.
"""

from __future__ import annotations

import json
import selectors
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import attrs

from chaos.ledger import Ledger
from chaos.records import Effect, Run, Sent

FLUSH_EVERY = 0.05
"""Seconds between two writes to the ledger."""

Listener = Callable[[str, Run], None]
"""Called with `start`, `effect`, `end` or `dies` and the run, in the collector's thread."""


def is_one_of(run: Run, pids: Collection[int] | None, host: str) -> bool:
    """Whether a run is of one of these processes; `host`: of that host only, if given; `pids` None: of any."""
    return (not host or run.host == host) and (pids is None or run.pid in pids)


class Collector:
    """Listens on a unix socket, and on a TCP port if one is given. Start it, and close it. Raises OSError."""

    def __init__(self, ledger: Ledger, path: Path, tcp: tuple[str, int] | None = None) -> None:
        self._ledger = ledger
        self._selector = selectors.DefaultSelector()
        self._buffers: dict[socket.socket, bytearray] = {}
        self._afar: dict[socket.socket, tuple[str, int] | None] = {}
        """Who speaks by TCP: host and process id, None if nobody knows yet."""
        self._doors = [] if tcp is None else [socket.create_server(tcp)]
        self._doors.append(socket.socket(socket.AF_UNIX))
        self._doors[-1].bind(str(path))
        for door in self._doors:
            door.listen(256)
            self._selector.register(door, selectors.EVENT_READ)
        self._lock = threading.Lock()
        self._runs: dict[str, Run] = {}
        self._open: dict[str, Run] = {}
        self._finished: dict[int, tuple[str, float]] = {}
        self._fences: dict[int, int] = {}
        self._effects = 0
        self._changed: dict[str, Run] = {}
        self._new_effects: list[Effect] = []
        self._new_sent: dict[int, Sent] = {}
        self.children: dict[int, Sent] = {}
        """Jobs that were sent from inside of jobs."""
        self.listeners: list[Listener] = []
        self.hung_up: Callable[[int, str], None] | None = None
        """Called with the process id and the host of one that spoke by TCP when its connection ends, in the collector's
        thread: nobody else tells us soon that a process of another machine is dead.
        """
        self._idle_rounds = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="collector", daemon=True)
        self._flushed_at = 0.0

    def start(self) -> None:
        """Listen from now on."""
        self._thread.start()

    def close(self) -> None:
        """Take what has been sent, write it, and end."""
        self.settle()
        self._closing.set()
        self._thread.join(10)
        for sock in [*self._buffers, *self._doors]:
            sock.close()
        self._selector.close()

    def settle(self, within: float = 10.0) -> None:
        """Wait until everything that was sent before this call has been taken and written."""
        until = time.monotonic() + within
        seen = self._idle_rounds
        # Two: the first may have begun before the call.
        while self._idle_rounds < seen + 2 and self._thread.is_alive() and time.monotonic() < until:
            time.sleep(0.002)

    # -- looking

    def open_runs(self) -> list[Run]:
        """Return the runs that have started and not ended, as far as is known: a dead process ends what it runs."""
        with self._lock:
            return list(self._open.values())

    def finished(self, token: int) -> tuple[str, float] | None:
        """Return how and when a job came to its end by its own word (`done`; `failed` for one without retries)."""
        return self._finished.get(token)

    def done(self) -> int:
        """Return how many jobs are done."""
        return sum(outcome == "done" for outcome, _ in list(self._finished.values()))

    def processes_ended(self, pids: Iterable[int] | None, host: str = "") -> None:
        """Learn that these processes are dead: what they ran is not open any more.

        `host`: if given, those of that host only, others may have the same ids; with None for `pids`, all of it.
        """
        gone = None if pids is None else set(pids)
        with self._lock:
            for run in [run for run in self._open.values() if is_one_of(run, gone, host)]:
                del self._open[run.run]

    # -- the thread

    def _loop(self) -> None:
        while not self._closing.is_set():
            ready = self._selector.select(0.01)
            for key, _ in ready:
                sock: socket.socket = key.fileobj  # type: ignore[assignment]
                if sock in self._doors:
                    self._welcome(sock)
                else:
                    self._read(sock)
            if not ready or time.monotonic() - self._flushed_at > FLUSH_EVERY:
                self._flush()
            if not ready:
                self._idle_rounds += 1

    def _welcome(self, door: socket.socket) -> None:
        guest, _ = door.accept()
        self._buffers[guest] = bytearray()
        if door.family != socket.AF_UNIX:
            self._afar[guest] = None
        self._selector.register(guest, selectors.EVENT_READ)

    def _read(self, sock: socket.socket) -> None:
        try:
            data = sock.recv(1 << 20)
        except OSError:  # reset, or the other machine is gone
            data = b""
        buffer = self._buffers[sock]
        buffer += data
        *lines, rest = buffer.split(b"\n")
        self._buffers[sock] = bytearray(rest)
        for line in lines:
            run = self._take(json.loads(line))
            if run is not None and sock in self._afar:
                self._afar[sock] = run.host, run.pid
        if not data:
            del self._buffers[sock]
            self._selector.unregister(sock)
            sock.close()
            speaker = self._afar.pop(sock, None)
            if speaker is not None and self.hung_up is not None:
                self.hung_up(speaker[1], speaker[0])

    def _flush(self) -> None:
        self._flushed_at = time.monotonic()
        with self._lock:
            runs, self._changed = list(self._changed.values()), {}
            effects, self._new_effects = self._new_effects, []
            sent, self._new_sent = list(self._new_sent.values()), {}
        if runs or effects or sent:
            self._ledger.add_all(sent, runs, effects)

    def _take(self, line: dict[str, Any]) -> Run | None:
        """Take a line; return the run that it is about."""
        what = line.pop("what")
        if what == "sent":
            job = Sent(**line)
            self._new_sent[job.token] = self.children[job.token] = job
            return None
        with self._lock:
            run = self._apply(what, line)
        for listener in list(self.listeners):
            listener(what, run)
        return run

    def _apply(self, what: str, line: dict[str, Any]) -> Run:
        if what == "start":
            line["started_at"] = line.pop("at")
            run = Run(**line)
            self._open[run.run] = run
        else:
            run = self._runs[line["run"]]
        if what == "fence":
            run = attrs.evolve(run, fence=line["fence"], fence_at=line["at"])
        elif what == "effect":
            self._effect(run, line)
        elif what == "end":
            run = attrs.evolve(run, ended_at=line["at"], outcome=line["outcome"])
            self._open.pop(run.run, None)
            if run.outcome in ("done", "failed"):
                self._finished.setdefault(run.token, (str(run.outcome), line["at"]))
            if run.outcome == "done":
                self._finished[run.token] = ("done", line["at"])
        self._runs[run.run] = self._changed[run.run] = run
        if run.run in self._open:
            self._open[run.run] = run
        return run

    def _effect(self, run: Run, line: dict[str, Any]) -> None:
        fence = line["fence"]
        accepted = fence is None or fence >= self._fences.get(run.token, 0)
        if fence is not None and accepted:
            self._fences[run.token] = fence
        self._effects += 1
        self._new_effects.append(
            Effect(number=self._effects, run=run.run, token=run.token, fence=fence, at=line["at"], accepted=accepted)
        )
