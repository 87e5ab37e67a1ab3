"""leave.lua"""

from reliq.store.keys import Keyspace
from tests.lua.state import DAY_MS, ID, OTHER, Case, Expiring, Scores, Stage, State, table

KEYS = Keyspace()
USUAL = {
    "heartbeat": KEYS.heartbeat(ID),
    "processes": KEYS.processes,
    "shown": KEYS.shown(ID),
    "work": KEYS.work(ID),
    "signals": KEYS.signals(ID),
    "private": [KEYS.private(ID, "mail"), KEYS.private(ID, "low")],
    "identity": ID,
}
BEATING = Expiring("41", 9000)
STAYS: State = {"beats": Scores({ID: "<f-1>"}), "fleet": {ID: "{}"}, f"turn:{ID}": Expiring("9", DAY_MS)}
SHOWN: State = {
    ID: Expiring({"busy": "0"}, 60_000),
    f"{ID}:work": Expiring({"t1": "{}"}, 60_000),
    f"{ID}-signals": Expiring(["TERM"], 60_000),
}

CASES = [
    Case(
        "with empty hands: fenced by itself, shown no more, still in the walk",
        before={f"heartbeat:{ID}": BEATING, "processes": {ID, OTHER}, **SHOWN, **STAYS},
        reply=["left"],
        after={f"heartbeat:{ID}": Expiring("fenced", DAY_MS), "processes": {OTHER}, **STAYS},
    ),
    Case(
        "one who holds jobs of any queue may not leave",
        before={
            f"heartbeat:{ID}": BEATING,
            f"private:{ID}:mail": ["a"],
            f"private:{ID}:low": ["b", "c"],
            "processes": {ID},
            **SHOWN,
        },
        reply=["held", 3],
    ),
    Case(
        "a missing heartbeat does not let one leave with jobs, either",
        before={f"private:{ID}:low": ["b"]},
        reply=["held", 1],
    ),
    Case(
        "a missing heartbeat with empty hands",
        before={"processes": {ID}},
        reply=["left"],
        after={f"heartbeat:{ID}": Expiring("fenced", DAY_MS)},
    ),
    Case(
        "one who was condemned has left, its jobs are the reaper's",
        before={
            f"heartbeat:{ID}": Expiring("fenced", 5000),
            f"private:{ID}:mail": ["a"],
            "processes": {ID},
            ID: Expiring({"busy": "0"}, 60_000),
        },
        reply=["left"],
        after={f"heartbeat:{ID}": Expiring("fenced", DAY_MS), f"private:{ID}:mail": ["a"]},
    ),
]


@table(CASES)
def test_leave(stage: Stage, case: Case, full: bool) -> None:
    stage.play(case, stage.scripts.leave, USUAL, full=full)
