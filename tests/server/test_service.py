"""The contract of every duty: start, stop and join in any order; errors end nothing."""

from __future__ import annotations

import threading
from functools import partial

from chaos.eventually import eventually
from reliq.errors import Unreachable
from reliq.server.service import Service


class Counting(Service):
    """Ticks as fast as it can, and fails when it is told to."""

    name = "counting"

    def __init__(self, *errors: Exception) -> None:
        super().__init__(longest_backoff=0.01)
        self.errors = list(errors)
        self.ticks = 0
        self.closed = 0

    def tick(self) -> float:
        self.ticks += 1
        if self.errors:
            raise self.errors.pop(0)
        return 0.001

    def close(self) -> None:
        self.closed += 1


def ahead(duty: Counting, ticks: int) -> bool:
    return duty.ticks > ticks


def test_it_ticks_until_it_is_stopped_and_then_closes() -> None:
    duty = Counting()
    duty.start()
    eventually(lambda: duty.ticks > 3)
    duty.stop()
    assert duty.join()
    ticks = duty.ticks
    assert duty.closed == 1
    assert not any(thread.name == "reliq-counting" for thread in threading.enumerate())
    assert duty.ticks == ticks


def test_starting_twice_makes_one_thread() -> None:
    duty = Counting()
    duty.start()
    duty.start()
    assert sum(thread.name == "reliq-counting" for thread in threading.enumerate()) == 1
    duty.stop()
    assert duty.join()


def test_stopping_what_was_never_started_and_stopping_twice_is_fine() -> None:
    duty = Counting()
    duty.stop()
    assert duty.join()
    duty.start()
    eventually(lambda: duty.ticks > 0)
    duty.stop()
    duty.stop()
    assert duty.join()
    assert duty.join()


def test_it_can_be_started_again() -> None:
    duty = Counting()
    for rounds in (1, 2):
        duty.start()
        before = duty.ticks
        eventually(partial(ahead, duty, before))
        duty.stop()
        assert duty.join()
        assert duty.closed == rounds


def test_neither_an_outage_nor_a_mistake_ends_it() -> None:
    duty = Counting(Unreachable("gone"), Unreachable("still gone"), ZeroDivisionError("a bad entry"))
    duty.start()
    eventually(lambda: duty.ticks > 5)
    duty.stop()
    assert duty.join()
    assert duty.errors == []
