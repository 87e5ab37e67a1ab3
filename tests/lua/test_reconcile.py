"""reconcile.lua"""

from reliq.store.keys import Keyspace
from tests.lua.state import DAY_MS, ID, Case, Expiring, Stage, State, table

KEYS = Keyspace()
USUAL = {
    "heartbeat": KEYS.heartbeat(ID),
    "turn": KEYS.turn(ID),
    "private": [KEYS.private(ID, "mail"), KEYS.private(ID, "low")],
    "number": 9,
}
HELD: State = {
    f"heartbeat:{ID}": Expiring("41", 9000),
    f"private:{ID}:mail": ["newest", "\udcff", "oldest"],
    "queue:mail": ["waiting"],
}
LISTS = [["newest", "\udcff", "oldest"], []]

CASES = [
    Case(
        "before the first turn",
        before=HELD,
        reply=["ok", 0, LISTS],
        after={**HELD, f"turn:{ID}": Expiring("9:0", DAY_MS)},
    ),
    Case(
        "older turns are shut out, and the last that was applied is told",
        before={**HELD, f"turn:{ID}": Expiring("7", 500_000)},
        reply=["ok", 7, LISTS],
        after={**HELD, f"turn:{ID}": Expiring("9:7", DAY_MS)},
    ),
    Case(
        "shut out before: the last that was applied is still told",
        before={**HELD, f"turn:{ID}": Expiring("8:5", 500_000)},
        reply=["ok", 5, LISTS],
        after={**HELD, f"turn:{ID}": Expiring("9:5", DAY_MS)},
    ),
    Case(
        "the last turn is the newest number",
        before={**HELD, f"turn:{ID}": Expiring("9", 500_000)},
        reply=["ok", 9, LISTS],
    ),
    Case(
        "the number is never lowered",
        before={**HELD, f"turn:{ID}": Expiring("12:5", 500_000)},
        reply=["ok", 5, LISTS],
    ),
    Case(
        "numbers are compared as numbers",
        before={**HELD, f"turn:{ID}": Expiring("9:8", 500_000)},
        call={"number": 10},
        reply=["ok", 8, LISTS],
        after={**HELD, f"turn:{ID}": Expiring("10:8", DAY_MS)},
    ),
    Case(
        "a missing heartbeat is no verdict",
        before={f"private:{ID}:low": ["a"]},
        reply=["ok", 0, [[], ["a"]]],
        after={f"private:{ID}:low": ["a"], f"turn:{ID}": Expiring("9:0", DAY_MS)},
    ),
    Case(
        "a condemned identity is told nothing",
        before={**HELD, f"heartbeat:{ID}": Expiring("fenced", DAY_MS - 5000), f"turn:{ID}": Expiring("7", 500_000)},
        reply=["fenced"],
    ),
]


@table(CASES)
def test_reconcile(stage: Stage, case: Case, full: bool) -> None:
    stage.play(case, stage.scripts.reconcile, USUAL, full=full)
