"""Everything at once: two loops whose replies are lost, whose commands come late and whose connections end, at random,
while they take the same jobs and one of them is replaced over and over. (docs/counterexamples.md 6 to 9)
"""

import random
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress

import pytest
import redis

from chaos.eventually import eventually
from chaos.proxy import Command, Proxy, Trap
from chaos.servers import Server
from reliq.clock import SystemClock
from reliq.job import jid_of
from reliq.server.reaper import Reaper
from reliq.store.opening import Store
from tests.counterexamples.stage import Ledger, Loop, application, condemned, homes, payload, push, quick

SECONDS = 2.0
ENOUGH = 10
"""Traps that a storm must have set: a busy machine needs longer than SECONDS for that."""


class Weather(threading.Thread):
    """Sets traps for whatever command comes next, delivers what it held some time later, and cuts connections."""

    def __init__(self, proxy: Proxy, seed: int) -> None:
        super().__init__(name="weather")
        self.over = threading.Event()
        self.caught = 0
        self._set: Trap | None = None
        self._proxy = proxy
        self._dice = random.Random(seed)

    def run(self) -> None:
        held: list[Trap] = []
        while not self.over.wait(self._dice.uniform(0.0, 0.02)):
            draw = self._dice.random()
            if draw < 0.05:
                self._proxy.cut()
            elif draw < 0.3 and held:
                self._deliver(held.pop(self._dice.randrange(len(held))))
            elif self._set is None or self._set.sprung is not None:
                # One at a time, and seldom enough that a recovery of a dozen commands often comes through.
                match = Some(self._dice.randrange(1, 60))
                self._set = self._proxy.hold(match) if draw < 0.6 else self._proxy.drop_reply(match)
                held += [self._set] if draw < 0.6 else []
                self.caught += 1
        for trap in held:
            self._deliver(trap)

    def _deliver(self, trap: Trap) -> None:
        # Its connection may have been closed by the server, as it was told to.
        if trap.sprung is not None:
            with suppress(AssertionError):
                self._proxy.deliver(trap, within=0.1)


class Some:
    """The nth command from now, whatever it is."""

    def __init__(self, number: int) -> None:
        self._left = number

    def __call__(self, _: Command) -> bool:
        self._left -= 1
        return self._left == 0


@pytest.mark.parametrize("copies", [1, 6], ids=["each job its own", "six copies of each"])
def test_a_storm_of_lost_and_late_commands(
    copies: int, server: Server, proxy: Proxy, redis_client: redis.Redis
) -> None:
    """Every job runs once for each of its copies and is counted once; nobody is taken for dead."""
    seed = random.randrange(2**32)
    sys.stdout.write(f"seed {seed}\n")
    dice = random.Random(seed)
    ledger = Ledger()
    reaper = Reaper(Store(quick(server.url)), SystemClock())
    weather = Weather(proxy, seed)
    wanted: Counter[str] = Counter()
    identities: set[str] = set()

    def start(stack: ExitStack) -> Loop:
        return stack.enter_context(Loop(app, proxy.url, "low", "high", life_url=server.url))

    with application(server.url, ledger) as app, ExitStack() as all_loops:
        all_loops.callback(reaper.join)
        all_loops.callback(reaper.stop)
        reaper.start()
        steady, changing = start(all_loops), start(all_loops)
        assert steady.identity
        assert changing.identity
        weather.start()
        all_loops.callback(weather.join)
        all_loops.callback(weather.over.set)
        until = time.monotonic() + SECONDS
        while time.monotonic() < until or (weather.caught <= ENOUGH and time.monotonic() < until + 20.0):
            for _ in range(dice.randrange(1, 8)):
                queue = dice.choice(("low", "high"))
                job = payload(dice.randrange(1000), queue)
                push(redis_client, *[job] * copies, queue=queue)
                wanted[jid_of(job)] += copies
            eventually(lambda: sum(homes(redis_client).values()) < dice.choice((1, 20)), 15.0)
            if dice.random() < 0.1:
                identities.add(changing.identity)
                changing.stop()
                changing = start(all_loops)
        weather.over.set()
        weather.join()
        eventually(lambda: not homes(redis_client), 10.0, "all is settled when the weather is fine")
        assert weather.caught > ENOUGH
        assert ledger.runs == wanted
        assert redis_client.get("stat:processed") == str(wanted.total()).encode()
        assert not condemned(redis_client, steady.identity)
        assert {entry.identity for entry in steady.entries} == {steady.identity}
        assert redis_client.hlen("crashes") == 0
