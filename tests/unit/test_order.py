"""reliq.server.order: which queue first, and how much of each."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reliq.config import QueueOption, WorkerConfig
from reliq.server.order import Order
from reliq.store.claims import Portion

DRAWS = 4000


def order(*weights: int | None, seed: int = 7) -> Order:
    """An order of as many queues, with dice that fall the same each time."""
    queues = tuple(QueueOption(f"q{place}", weight) for place, weight in enumerate(weights))
    return Order(WorkerConfig(app="-", queues=queues), random.Random(seed))


def test_strict() -> None:
    """As given, and no shares: what is left of the capacity goes to the next one only when the first is empty."""
    assert order(None, None, None).draw({2: 9, 0: 3, 1: 5}, 9) == {
        0: Portion(0, 3),
        1: Portion(0, 5),
        2: Portion(0, 9),
    }


def test_one_queue_needs_no_share() -> None:
    assert order(5, 1).draw({1: 4}, 9) == {1: Portion(0, 4)}


@pytest.mark.parametrize("capacity", [1, 2, 3, 10, 499])
@pytest.mark.parametrize("weights", [(3, 1), (1, 1), (5, 2, 1), (1000, 1)])
def test_each_has_its_share_on_the_average(weights: tuple[int, ...], capacity: int) -> None:
    dice = order(*weights)
    given_: Counter[int] = Counter()
    for _ in range(DRAWS):
        for place, portion in dice.draw(dict.fromkeys(range(len(weights)), capacity), capacity).items():
            given_[place] += portion.share
    for place, weight in enumerate(weights):
        wanted = capacity * weight / sum(weights)
        # Of one draw the share is off by less than one; of so many, by six times 0.5 / sqrt(DRAWS) at the most.
        assert abs(given_[place] / DRAWS - wanted) < 0.05


def test_who_comes_first_is_drawn_by_weight() -> None:
    dice = order(3, 1)
    first = Counter(next(iter(dice.draw({0: 9, 1: 9}, 1))) for _ in range(DRAWS))
    assert abs(first[0] / DRAWS - 0.75) < 0.05


@given(
    weights=st.lists(st.integers(1, 1000), min_size=2, max_size=20),
    limits=st.lists(st.integers(0, 600), min_size=20, max_size=20),
    capacity=st.integers(1, 600),
    seed=st.integers(),
)
def test_never_more_than_fits(weights: list[int], limits: list[int], capacity: int, seed: int) -> None:
    open_ = dict(enumerate(limits[: len(weights)]))
    drawn = order(*weights, seed=seed).draw(open_, capacity)
    assert set(drawn) == set(open_)
    assert sum(portion.share for portion in drawn.values()) <= capacity
    assert all(0 <= portion.share <= portion.most == open_[place] for place, portion in drawn.items())
