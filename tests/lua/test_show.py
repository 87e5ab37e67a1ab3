"""show.lua"""

from reliq.store.keys import Keyspace
from tests.lua.state import DAY_MS, ID, OTHER, Case, Expiring, Stage, table

KEYS = Keyspace()
USUAL = {
    "heartbeat": KEYS.heartbeat(ID),
    "processes": KEYS.processes,
    "shown": KEYS.shown(ID),
    "signals": KEYS.signals(ID),
    "identity": ID,
    "shown_ms": 60_000,
    "fields": ["busy", 3, "quiet", "false"],
}
SHOWN = Expiring({"busy": "3", "quiet": "false"}, 60_000)

CASES = [
    Case("for the first time", before={}, reply=None, after={"processes": {ID}, ID: SHOWN}),
    Case(
        "its fields are written over, the others stay, and all live on",
        before={"processes": {ID, OTHER}, ID: Expiring({"busy": "1", "info": "{}"}, 500)},
        reply=None,
        after={
            "processes": {ID, OTHER},
            ID: Expiring({"busy": "3", "quiet": "false", "info": "{}"}, 60_000),
        },
    ),
    Case(
        "the oldest signal is taken, one a call",
        before={"processes": {ID}, ID: SHOWN, f"{ID}-signals": Expiring(["TERM", "TSTP"], 60_000)},
        reply="TSTP",
        after={"processes": {ID}, ID: SHOWN, f"{ID}-signals": Expiring(["TERM"], 60_000)},
        again="TERM",
        finally_={"processes": {ID}, ID: SHOWN},
    ),
    Case(
        "a condemned identity is not shown and takes no signal",
        before={f"heartbeat:{ID}": Expiring("fenced", DAY_MS - 5000), f"{ID}-signals": Expiring(["TERM"], 60_000)},
        reply=None,
    ),
]


@table(CASES)
def test_show(stage: Stage, case: Case, full: bool) -> None:
    stage.play(case, stage.scripts.show, USUAL, full=full)
