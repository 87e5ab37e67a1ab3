"""suspect.lua"""

from reliq.store.keys import Keyspace
from tests.lua.state import DAY_MS, ID, OTHER, Case, Elapsed, Expiring, Stage, table

KEYS = Keyspace()
USUAL = {"heartbeat": KEYS.heartbeat(ID), "suspects": KEYS.suspects, "identity": ID, "gap_ms": 2000}

CASES = [
    Case(
        "the first look at a missing heartbeat starts the watch",
        before={"suspects": {OTHER: "<ms-4000>:<ms-1000>"}},
        reply=["missing", Elapsed(0)],
        after={"suspects": {ID: "<ms>:<ms>", OTHER: "<ms-4000>:<ms-1000>"}},
    ),
    Case(
        "a later look goes on with the watch",
        before={"suspects": {ID: "<ms-9000>:<ms-1500>"}},
        reply=["missing", Elapsed(9000)],
        after={"suspects": {ID: "<ms-9000>:<ms>"}},
    ),
    Case(
        "a gap between looks starts the watch over",
        before={"suspects": {ID: "<ms-9000>:<ms-2001>"}},
        reply=["missing", Elapsed(0)],
        after={"suspects": {ID: "<ms>:<ms>"}},
    ),
    Case(
        "a clock that stepped back starts the watch over",
        before={"suspects": {ID: "<ms-9000>:<ms+60000>"}},
        reply=["missing", Elapsed(0)],
        after={"suspects": {ID: "<ms>:<ms>"}},
    ),
    Case(
        "a mark that cannot be read starts the watch over",
        before={"suspects": {ID: "yesterday"}},
        reply=["missing", Elapsed(0)],
        after={"suspects": {ID: "<ms>:<ms>"}},
    ),
    Case(
        "a heartbeat that is there ends the watch",
        before={
            f"heartbeat:{ID}": Expiring("41", 10_000),
            "suspects": {ID: "<ms-9000>:<ms-1000>", OTHER: "<ms-4000>:<ms-1000>"},
        },
        reply=["alive", "41"],
        after={f"heartbeat:{ID}": Expiring("41", 10_000), "suspects": {OTHER: "<ms-4000>:<ms-1000>"}},
    ),
    Case(
        "there is nothing to watch about a condemned identity",
        before={f"heartbeat:{ID}": Expiring("fenced", DAY_MS - 5000)},
        reply=["fenced"],
    ),
]


@table(CASES)
def test_suspect(stage: Stage, case: Case, full: bool) -> None:
    stage.play(case, stage.scripts.suspect, USUAL, full=full)
