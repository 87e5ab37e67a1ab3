"""fence.lua"""

from reliq.store.keys import Keyspace
from tests.lua.state import DAY_MS, ID, Case, Expiring, Stage, table

KEYS = Keyspace()
USUAL = {"heartbeat": KEYS.heartbeat(ID), "fence": KEYS.fence}
BEATING = Expiring("41", 9000)

CASES = [
    Case(
        "the first number is the server's clock",
        before={f"heartbeat:{ID}": BEATING},
        reply="<us>",
        after={f"heartbeat:{ID}": BEATING, "fence": "<us>"},
    ),
    Case(
        "a number from the past, after writes were lost, is passed over",
        before={f"heartbeat:{ID}": BEATING, "fence": "<us-5000000>"},
        reply="<us>",
        after={f"heartbeat:{ID}": BEATING, "fence": "<us>"},
    ),
    Case(
        "a clock that stepped back cannot lower it",
        before={f"heartbeat:{ID}": BEATING, "fence": "4000000000000000"},
        reply="4000000000000001",
        after={f"heartbeat:{ID}": BEATING, "fence": "4000000000000001"},
        again="4000000000000002",
        finally_={f"heartbeat:{ID}": BEATING, "fence": "4000000000000002"},
    ),
    Case(
        "a missing heartbeat is no verdict; an expiry that was set on the counter goes",
        before={"fence": Expiring("4000000000000000", 5000)},
        reply="4000000000000001",
        after={"fence": "4000000000000001"},
        again="4000000000000002",
        finally_={"fence": "4000000000000002"},
    ),
    Case(
        "a condemned identity draws none",
        before={f"heartbeat:{ID}": Expiring("fenced", DAY_MS - 5000), "fence": "7"},
        reply=None,
    ),
]


@table(CASES)
def test_fence(stage: Stage, case: Case, full: bool) -> None:
    stage.play(case, stage.scripts.fence, USUAL, full=full)


def test_numbers_only_grow(stage: Stage) -> None:
    numbers = [int(stage.scripts.fence(**USUAL) or 0) for _ in range(200)]
    assert numbers == sorted(set(numbers))
