"""The stage of these tests: parts of a pod that a test moves by hand, and a whole worker loop in a thread.

A `Seat` is what one worker process holds, without a loop: it is frozen by not calling it. A `Loop` is the real loop of
a worker process with its supervisor's heartbeat, whose jobs write into a `Ledger`. Times are made, not waited for: a
`HandClock` for what a duty remembers, and `expire`, `age_beat` and `age_watch` for what stands in Redis.
"""

import multiprocessing
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, cast

import redis

from chaos.eventually import eventually
from chaos.proxy import Command, Match
from reliq import Reliq, current_attempt
from reliq.clock import SystemClock
from reliq.config import Config, QueueOption, WorkerConfig
from reliq.job import encode, jid_of, new_jid
from reliq.outcome import Done, Outcome
from reliq.server.board import Board, allocate
from reliq.server.fetcher import SuperFetch
from reliq.server.heartbeat import Heartbeat, Patient
from reliq.server.order import Order
from reliq.server.process import Worker
from reliq.server.reaper import Reaper
from reliq.server.recovery import Recovery
from reliq.server.role import Role
from reliq.store.claims import Claim, Ending
from reliq.store.connection import check_server
from reliq.store.opening import Store
from reliq.store.processes import Entry, Processes, new_identity
from reliq.store.queue import Queue

QUICK: dict[str, Any] = {
    "beat": 0.2,
    "ttl": 1.0,
    "connect_timeout": 0.5,
    "command_timeout": 0.5,
    "longest_backoff": 0.3,
}
"""The smallest settings that are allowed; a death is proven by the TTL path within 1 + 1.5 + 1 s."""


def quick(url: str, **changes: Any) -> Config:
    """The smallest settings, for a server."""
    return Config(url=url, **(QUICK | changes))


class HandClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def wall(self) -> float:
        return time.time()

    def mono(self) -> float:
        return self.now

    def boot(self) -> float:
        return self.now


def payload(number: int = 0, queue: str = "default") -> bytes:
    """A fresh job's payload."""
    return encode("work", [number], {}, jid=new_jid(), queue=queue, retry=True, now=time.time())


def push(client: redis.Redis, *payloads: bytes, queue: str = "default") -> None:
    """Enqueue as any producer does."""
    client.sadd("queues", queue)
    client.lpush(f"queue:{queue}", *payloads)


class Seat:
    """What one worker process does to Redis, step by step."""

    def __init__(self, url: str, *queues: str, config: Config | None = None, life_url: str | None = None) -> None:
        self.queues = queues or ("default",)
        self.store = Store(config or quick(url))
        self.identity = new_identity("seat", os.getpid())
        self.clock = HandClock()
        worker = WorkerConfig(app="-", queues=tuple(map(QueueOption, self.queues)))
        self.fetch = SuperFetch(self.store, Order(worker), self.identity, self.queues, self.clock, quarantine=False)
        self.own = Processes(self.store, self.fetch.link)
        self._life_store = Store(config or quick(life_url or url))
        self._life_link = self._life_store.link("life")
        self.life = Processes(self._life_store, self._life_link)
        self.entry = Entry(
            identity=self.identity, host="seat", pid=os.getpid(), queues=self.queues, started=time.time()
        )

    def register(self, **fields: Any) -> "Seat":
        """Connect and enter the fleet, as a starting process does."""
        self.fetch.connect()
        known = {field: getattr(self.entry, field) for field in ("host", "pid", "queues", "started", "stopping")}
        known |= {"run_id": check_server(self.fetch.link), "clients": self.fetch.clients()}
        self.entry = Entry(identity=self.identity, **(known | fields))
        self.own.register(self.entry)
        return self

    def beat(self) -> str:
        return self.life.beat(self.identity)

    def claim(self, capacity: int = 10) -> list[Claim]:
        """One turn that only claims."""
        return self.fetch.exchange([], self.limits(capacity))

    def settle(self, *claims: Claim, outcome: Outcome | None = None, capacity: int = 0) -> list[Claim]:
        """One turn that settles these claims, as done unless said otherwise."""
        return self.fetch.exchange([self.ending(claim, outcome) for claim in claims], self.limits(capacity))

    def limits(self, capacity: int) -> list[int]:
        """So many jobs, wherever from."""
        return [capacity for _ in self.queues]

    @staticmethod
    def ending(claim: Claim, outcome: Outcome | None = None) -> Ending:
        return Ending(claim, outcome or Done(), jid_of(claim.payload))

    def arm(self) -> None:
        """Look once, then arm the doorbells of what was seen empty."""
        assert self.claim() == []
        self.fetch.rest()
        assert len(self.fetch.sockets()) == min(4, len(self.queues))

    def private(self, queue: str = "default") -> str:
        return f"private:{self.identity}:{queue}"

    def close(self) -> None:
        self.fetch.close()
        self._life_link.close()


@contextmanager
def seats(*made: Seat) -> Iterator[None]:
    """Close them in the end."""
    try:
        yield
    finally:
        for seat in made:
            seat.close()


@contextmanager
def reaping(url: str, clock: HandClock | None = None, **changes: Any) -> Iterator[Reaper]:
    """A reaper that a test ticks."""
    reaper = Reaper(Store(quick(url, **changes)), clock or HandClock())
    try:
        yield reaper
    finally:
        reaper.close()


@contextmanager
def recovering(url: str) -> Iterator[Recovery]:
    """What a supervisor does about a dead child."""
    recovery = Recovery(Store(quick(url)))
    try:
        yield recovery
    finally:
        recovery.link.close()


@contextmanager
def producing(url: str, **changes: Any) -> Iterator[Queue]:
    """A producer."""
    queue = Queue(Store(quick(url, **changes)))
    try:
        yield queue
    finally:
        queue.close()


# -- time in Redis


def server_ms(client: redis.Redis) -> int:
    """The server's clock, in milliseconds."""
    seconds, micros = client.time()
    return seconds * 1000 + micros // 1000


def expire(client: redis.Redis, identity: str) -> None:
    """Let the heartbeat key run out."""
    client.delete(f"heartbeat:{identity}")


def age_beat(client: redis.Redis, identity: str, seconds: float) -> None:
    """Let the last beat be so long ago."""
    client.zadd("beats", {identity: server_ms(client) / 1000 - seconds})


def age_watch(client: redis.Redis, identity: str, first: float, last: float) -> None:
    """Let the watch over a missing heartbeat have begun and gone on so many seconds ago."""
    now = server_ms(client)
    client.hset("suspects", identity, f"{now - round(first * 1000)}:{now - round(last * 1000)}")


def condemned(client: redis.Redis, identity: str) -> bool:
    return client.get(f"heartbeat:{identity}") == b"fenced"


def condemn(client: redis.Redis, identity: str) -> None:
    """The verdict, by whoever."""
    client.set(f"heartbeat:{identity}", "fenced", px=86_400_000)


# -- where jobs are


def crashes(client: redis.Redis) -> dict[str, int]:
    """The crash counts on record."""
    found = cast("dict[bytes, bytes]", client.hgetall("crashes"))
    return {jid.decode(): int(record.split(b":")[0]) for jid, record in found.items()}


def members(client: redis.Redis, key: str) -> list[bytes]:
    """What a sorted set holds, by score."""
    return cast("list[bytes]", client.zrange(key, 0, -1))


def limited(client: redis.Redis, socket: Path, *, without: str) -> str:
    """A URL for a user who may do everything but the commands named, as `without="-client +client|id"`."""
    command: Callable[..., Any] = client.execute_command
    command("ACL", "SETUSER", "limited", "on", ">word", "~*", "&*", "+@all", *without.split())
    return f"unix://limited:word@{socket}"


_HOMES = """
local homes = {}
local function add(members)
  for _, member in ipairs(members) do homes[#homes + 1] = member end
end
for _, name in ipairs(redis.call('KEYS', 'private:*')) do add(redis.call('LRANGE', name, 0, -1)) end
for _, name in ipairs(redis.call('SMEMBERS', 'queues')) do
  add(redis.call('LRANGE', 'queue:' .. name, 0, -1))
  add(redis.call('LRANGE', 'quarantine:' .. name, 0, -1))
end
for _, name in ipairs({'schedule', 'retry', 'dead'}) do add(redis.call('ZRANGE', name, 0, -1)) end
return homes
"""


def homes(client: redis.Redis) -> Counter[str]:
    """In how many places each job is, by its id. At one moment, the names included: a private list may be a new one."""
    return Counter(map(jid_of, cast("list[bytes]", client.eval(_HOMES, 0))))


def stranded(client: redis.Redis) -> list[bytes]:
    """The private lists that hold something."""
    return list(client.scan_iter(match="private:*", count=1000))


# -- breaking things


def words(*expected: str) -> Match:
    """Commands that begin with these words, as `words("CLIENT", "UNBLOCK")`."""
    upper = [word.upper().encode() for word in expected]
    return lambda command: [word.upper() for word in command[: len(upper)]] == upper


def nth(match: Match, number: int) -> Match:
    """The nth command (from 1) that matches."""
    seen = 0

    def counting(command: Command) -> bool:
        nonlocal seen
        seen += match(command)
        return seen == number

    return counting


# -- a whole worker loop


class Ledger:
    """Which jobs began and ended, by their ids; from any thread."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.ended: list[str] = []
        self.gates = [threading.Event() for _ in range(4)]

    @property
    def runs(self) -> Counter[str]:
        """How often each job began."""
        return Counter(self.began)

    def write(self, seconds: float = 0.0) -> None:
        """What a job does: a line when it begins and one when it ends."""
        jid = current_attempt().jid
        self.began.append(jid)
        if seconds:
            time.sleep(seconds)
        self.ended.append(jid)


class Loop:
    """The loop of a worker process in a thread, and its supervisor's heartbeat in another.

    `url` is the loop's way to Redis, `life_url` the heartbeat's.
    """

    def __init__(
        self,
        app: Reliq,
        url: str,
        *queues: str,
        life_url: str | None = None,
        concurrency: int = 3,
        config: Config | None = None,
    ) -> None:
        config = config or quick(url)
        options = WorkerConfig(app="-", queues=tuple(map(QueueOption, queues or ("default",))), concurrency=concurrency)
        board = Board(allocate(multiprocessing.get_context("forkserver"), concurrency))
        self._pipe, theirs = multiprocessing.Pipe()
        self.worker = Worker(app, config, Role(worker=options, version="0"), theirs, board)
        self.board = board
        self.heard: list[tuple[Any, ...]] = []
        self.entries: list[Entry] = []
        self._orphaned = False
        self._heart = Heartbeat(Store(quick(life_url or url)), SystemClock(), lambda *_: None)
        self._thread = threading.Thread(target=self.worker.run, name="loop")
        self._ears = threading.Thread(target=self._listen, name="ears")

    def __enter__(self) -> Self:
        self._heart.start()
        self._ears.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._heart.stop()
        self._heart.join()
        self._pipe.close()

    @property
    def identity(self) -> str:
        """The newest identity; waits until there is one."""
        return eventually(lambda: [entry.identity for entry in self.entries], why="the process is in the fleet")[-1]

    def stop(self, timeout: float = 5.0) -> None:
        """Stop as the supervisor does, and wait until the process has left."""
        if self._thread.is_alive() and not self._orphaned:
            self.tell_to_stop(timeout)
        self.join()

    def tell_to_stop(self, timeout: float = 5.0) -> None:
        """Say the word, and go on."""
        self._pipe.send(("stop", timeout))

    def orphan(self) -> None:
        """Let the supervisor die: its beats and its end of the pipe end."""
        self._orphaned = True
        self._heart.drop(self.identity)
        self._pipe.close()

    def join(self) -> None:
        """Wait until the process has left."""
        self._thread.join(15)
        self._ears.join(5)
        assert not self._thread.is_alive(), f"the loop did not end:\n{self.worker.stacks()}"

    def _listen(self) -> None:
        while True:
            try:
                if not self._pipe.poll(0.05):
                    continue
                message = self._pipe.recv()
            except (OSError, EOFError):
                return
            self.heard.append(message)
            if message[0] == "ready":
                _, epoch, entry = message
                self._heart.add(Patient(entry, epoch, self.board, {}))
                self.entries.append(entry)
            elif message[0] == "left":
                for entry in self.entries:
                    self._heart.drop(entry.identity)
                return


@contextmanager
def application(url: str, ledger: Ledger, **changes: Any) -> Iterator[Reliq]:
    """An application with the jobs `work(number, seconds=0)`, `fail(number)` and `gated()`, which keep the ledger.

    The nth run of a gated job ends when the nth gate of the ledger is open.
    """
    app = Reliq(url, config=quick(url, **changes))

    def work(number: int, seconds: float = 0.0) -> None:
        ledger.write(seconds)

    def fail(number: int) -> None:
        ledger.write()
        raise RuntimeError(number)

    def gated() -> None:
        gate = ledger.gates[len(ledger.began)]
        ledger.write()
        until = time.monotonic() + 20
        while not gate.wait(0.05):  # in slices: an interrupt is raised only between two of them
            assert time.monotonic() < until, "nobody opened the gate"

    app.job(work)
    app.job(gated)
    app.job("fail", retry=0)(fail)
    try:
        yield app
    finally:
        app.close()


def all_done(client: redis.Redis, ledger: Ledger, jids: Sequence[str], within: float = 8.0) -> None:
    """Wait until no job is anywhere; then each has run once, and was counted once."""
    eventually(lambda: not homes(client), within, "every job is settled")
    assert ledger.runs == Counter(jids)
    assert Counter(ledger.ended) == Counter(jids)
    assert int(client.get("stat:processed") or 0) == len(jids)
