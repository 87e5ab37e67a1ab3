"""Tally: what ran is told every few seconds, each run once."""

from reliq.server.tally import EVERY, Tally
from reliq.store.paces import Ran
from tests.counterexamples.stage import HandClock


def test_the_first_run_is_told_at_once_and_later_ones_together() -> None:
    clock = HandClock()
    tally = Tally(clock)
    assert tally.take() == {}
    tally.add("mail", [0.5])
    assert tally.take() == {"mail": Ran(1, 0.5)}
    tally.add("mail", [1.0])
    tally.add("mail", [0.5, 1.5])
    tally.add("low", [7.0])
    assert tally.take() == {}
    clock.now += EVERY
    assert tally.take() == {"mail": Ran(3, 3.0), "low": Ran(1, 7.0)}
    clock.now += EVERY
    assert tally.take() == {}
