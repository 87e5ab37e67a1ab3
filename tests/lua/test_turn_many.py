"""turn.lua, where it moves many jobs together: it does what one by one would do."""

from collections import Counter
from typing import Any, cast

import attrs
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tests.lua.state import ID, Stage, plain
from tests.lua.test_turn import MAIL, USUAL, turn

LETTERS = "abcdefghijklm"
JOBS = st.sampled_from([f"{letter}{'x' * size}" for letter in LETTERS for size in (0, 5, 40)])
PLACES = st.integers(0, 59)


@attrs.frozen(kw_only=True)
class World:
    """Lists as they lie in Redis, newest first; the first letter of a job is its id."""

    private: list[str]
    ended: list[bool]
    swaps: list[tuple[int, int]]
    foreign: list[str]
    public: list[str]
    crashes: set[str]
    capacity: int
    max_bytes: int

    def acks(self) -> list[str]:
        """Nearly in the order of their claims, and some that are not held."""
        acks = [job for job, over in zip(self.private[::-1], self.ended, strict=False) if over] + self.foreign
        for here, there in self.swaps:
            if max(here, there) < len(acks):
                acks[here], acks[there] = acks[there], acks[here]
        return acks

    def left(self, acks: list[str]) -> tuple[list[str], list[str]]:
        """What is held after each ack has removed its like that was claimed first; and those that are refused."""
        left, refused = self.private.copy(), []
        for payload in acks:
            if payload in left:
                del left[len(left) - 1 - left[::-1].index(payload)]
            else:
                refused.append(payload)
        return left, refused

    def claimed(self) -> list[str]:
        """What is claimed, in this order, if each is claimed by itself."""
        taken: list[str] = []
        while len(taken) < min(self.capacity, len(self.public)) and sum(map(len, taken)) < self.max_bytes:
            taken.append(self.public[-1 - len(taken)])
        return taken


WORLDS = st.builds(
    World,
    private=st.lists(JOBS, max_size=60),
    ended=st.lists(st.booleans(), min_size=60, max_size=60),
    swaps=st.lists(st.tuples(PLACES, PLACES), max_size=8),
    foreign=st.lists(JOBS, max_size=3),
    public=st.lists(JOBS, max_size=150),
    crashes=st.sets(st.sampled_from(LETTERS)),
    capacity=st.integers(0, 150),
    max_bytes=st.integers(1, 3000),
)


@given(world=WORLDS)
# The stage is one for all: each example clears it first.
@examples(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_many_are_settled_and_claimed_as_one_by_one(stage: Stage, world: World) -> None:
    acks = world.acks()
    (left, refused), taken = world.left(acks), world.claimed()
    stage.client.flushall()
    stage.client.set(f"heartbeat:{ID}", "41", px=9000)
    for name, jobs in ((MAIL, world.private), ("queue:mail", world.public)):
        if jobs:
            stage.client.rpush(name, *jobs)
    if world.crashes:
        stage.client.hset("crashes", mapping=dict.fromkeys(world.crashes, "1:60"))
    call: dict[str, Any] = turn(
        (1,), tuple(acks), limits=(world.capacity,), capacity=world.capacity, max_bytes=world.max_bytes
    )
    reply = plain(stage.scripts.turn(**{**USUAL, **call}))
    found = cast(dict[str, Any], stage.keyspace())
    assert found.get(MAIL, []) == taken[::-1] + left
    assert found.get("queue:mail", []) == world.public[: len(world.public) - len(taken)]
    assert [payload for _, *group in reply[2] for payload in group] == taken
    assert Counter(acks[position - 1] for position in reply[1]) == Counter(refused)
    gone = Counter(acks) - Counter(refused)
    assert set(found.get("crashes", {})) == world.crashes - {payload[0] for payload in gone}
    assert int(found.get("stat:processed", "0")) == gone.total()
    # It may be seen that there is no more, and is if there was room for more.
    empty, room_left = len(taken) == len(world.public), sum(map(len, taken)) < world.max_bytes
    assert reply[3] in ([[1]] if empty and room_left and world.capacity > len(taken) else [[], [1] * empty])
