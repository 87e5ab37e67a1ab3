"""Finds what a test leaves behind: threads, processes, connections, and keys that the key table does not know.

A test may leave ordinary keys; the next one starts on an empty server. What it may not leave is a key under a name that
no row of the table in reliq/store/keys.py describes, of another type than its row says, without the lifetime that its
row promises, or with a lifetime where the row says there is none (a queue that expires is a loss).
"""

import ctypes
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import re
import threading
from typing import NamedTuple, cast

import psutil
import redis
from redis.exceptions import NoPermissionError

from chaos.eventually import eventually
from chaos.servers import Server
from reliq.store import keys

PLACEHOLDERS = {
    "IDENTITY": r"[^:\s]+:\d+:[0-9a-f]{12}",
    "NAME": r"[^{}\x00-\x1f]{1,128}",
    "PRODUCER": r"\S+",
    "DUTY": r"[a-z-]+",
    "JID": r"\S+",
    "DATE": r"\d{4}-\d\d-\d\d",
}
"""The words in capitals in the table. Tests use names of these shapes too."""

NAMESPACE = r"(?:\{?(?:test|shop)[a-z0-9-]*\}?:)?"
"""Tests that use a namespace call it so; wider, and every misspelt key would pass for one in a namespace."""

SCRATCH = b"scratch:"
"""Keys of the tests themselves start so, as a counter that a test's jobs count in."""

WITHOUT_END = {"lasting", "limits", "until settled", "until success"}
"""Lifetimes of the table that mean: no expiry on the key."""


class Row(NamedTuple):
    """One row of the key table."""

    name: str
    type: str
    lifetime: str

    @property
    def pattern(self) -> re.Pattern[bytes]:
        """What the key's full name looks like."""
        words = [PLACEHOLDERS.get(word, re.escape(word)) for word in re.split(r"([A-Z]+)", self.name)]
        return re.compile((NAMESPACE + "".join(words)).encode())


def key_table() -> list[Row]:
    """The rows of the docstring of reliq/store/keys.py."""
    cells = re.findall(r"^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \|", keys.__doc__ or "", re.MULTILINE)
    return [Row(name, type_.strip(), lifetime.strip()) for name, type_, lifetime in cells]


def foreign_keys(client: redis.Redis) -> list[str]:
    """What is wrong with the keys on this server, one line each; none if the table describes them all."""
    table = [(row, row.pattern) for row in key_table()]
    wrong = []
    for key in client.scan_iter(count=1000):
        if key.startswith(SCRATCH):
            continue
        rows = [row for row, pattern in table if pattern.fullmatch(key)]
        type_ = cast(bytes, client.type(key)).decode()
        ttl = client.pttl(key)
        if type_ == "none":
            continue  # it expired since the scan
        row = next((row for row in rows if row.type == type_), None)
        if not rows:
            wrong.append(f"{key!r}: no row of the key table has this name")
        elif row is None:
            wrong.append(f"{key!r}: is a {type_}, the key table says {rows[0].type}")
        elif row.lifetime in WITHOUT_END and ttl != -1:
            wrong.append(f"{key!r}: expires in {ttl} ms, the key table says {row.lifetime}")
        elif row.lifetime not in WITHOUT_END and ttl == -1:
            wrong.append(f"{key!r}: never expires, the key table says {row.lifetime}")
    return wrong


def check_keys(server: Server) -> None:
    """Fail on keys that the table does not describe. Passes over one that is down, paused or locked."""
    if not server.running or server.paused:
        return
    with server.client() as client:
        try:
            wrong = foreign_keys(client)
        except (redis.AuthenticationError, NoPermissionError):
            return
    assert not wrong, "\n".join(["keys left behind:", *wrong])


def adopt_orphans() -> None:
    """Make processes whose parent died children of this one, so that the checker sees them."""
    # 36 is PR_SET_CHILD_SUBREAPER
    ctypes.CDLL(None).prctl(36, 1)


def alive(pid: int) -> bool:
    """Whether a process runs. One that has ended and that nobody has waited for yet does not."""
    try:
        return psutil.Process(pid).status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    except psutil.NoSuchProcess:
        return False


class LeakCheck:
    """Remembers the threads, processes and connections that exist when it is made; `finish` fails on what is new."""

    def __init__(self, server: Server) -> None:
        # One leak is reported once: what an earlier test left behind is not this one's.
        self._connections = set(self._clients(server))
        self._threads = set(threading.enumerate())
        self._processes = set(psutil.Process().children(recursive=True))

    def finish(self, server: Server, patience: float = 5.0) -> None:
        """Wait `patience` seconds for what ends by itself; end the processes that are left, and name everything."""

        def left() -> list[str]:
            return [*self._new_threads(), *self._new_processes(), *self._new_clients(server)]

        try:
            eventually(lambda: not left(), within=patience)
        except AssertionError:
            problems = left()
            for process in self._new():
                process.kill()
            assert not problems, "\n".join(["left behind:", *problems])

    def _new_threads(self) -> list[str]:
        return [f"thread {thread.name}" for thread in threading.enumerate() if thread not in self._threads]

    def _new_processes(self) -> list[str]:
        found = []
        for process in self._new():
            try:
                if process.status() == psutil.STATUS_ZOMBIE:
                    if process.ppid() == os.getpid():
                        os.waitpid(process.pid, os.WNOHANG)  # an orphan that nobody else will wait for
                else:
                    found.append(f"process {process.pid} {' '.join(process.cmdline())[:300]}")
            except (psutil.NoSuchProcess, ChildProcessError):
                continue
        return found

    def _new(self) -> list[psutil.Process]:
        # multiprocessing keeps two helpers until the interpreter ends.
        helpers = {
            getattr(multiprocessing.resource_tracker, "_resource_tracker")._pid,  # noqa: B009
            getattr(multiprocessing.forkserver, "_forkserver")._forkserver_pid,  # noqa: B009
        }
        found = psutil.Process().children(recursive=True)
        return [process for process in found if process not in self._processes and process.pid not in helpers]

    def _new_clients(self, server: Server) -> list[str]:
        new = {ident: text for ident, text in self._clients(server).items() if ident not in self._connections}
        return list(new.values())

    @staticmethod
    def _clients(server: Server) -> dict[str, str]:
        if not server.running or server.paused:
            return {}
        with server.client() as client:
            own = client.client_id()
            return {
                other["id"]: f"connection {other['id']} named {other['name']!r}, last command {other['cmd']}"
                for other in client.client_list()
                if int(other["id"]) != own
            }
