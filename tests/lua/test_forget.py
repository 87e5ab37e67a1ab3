"""forget.lua"""

import pytest

from reliq.store.keys import Keyspace
from tests.lua.state import DAY_MS, ID, OTHER, Case, Expiring, Scores, Stage, State, table

KEYS = Keyspace()
USUAL = {
    "heartbeat": KEYS.heartbeat(ID),
    "beats": KEYS.beats,
    "fleet": KEYS.fleet,
    "suspects": KEYS.suspects,
    "turn": KEYS.turn(ID),
    "processes": KEYS.processes,
    "shown": KEYS.shown(ID),
    "work": KEYS.work(ID),
    "signals": KEYS.signals(ID),
    "private": [KEYS.private(ID, "mail"), KEYS.private(ID, "low")],
    "identity": ID,
    "keep_ms": 900_000,
}
FENCED = Expiring("fenced", DAY_MS - 900_000)
OLD: State = {
    f"heartbeat:{ID}": FENCED,
    "beats": Scores({ID: "<f-901>", OTHER: "<f-2000>"}),
    "fleet": {ID: "{}", OTHER: "{}"},
}

CASES = [
    Case(
        "the last sign is old: everything goes but the verdict",
        before={
            **OLD,
            "suspects": {ID: "<ms-9000>:<ms>", OTHER: "<ms-9000>:<ms>"},
            "processes": {ID, OTHER},
            f"turn:{ID}": Expiring("9", DAY_MS),
            ID: Expiring({"busy": "0"}, 60_000),
            f"{ID}:work": Expiring({"t1": "{}"}, 60_000),
            f"{ID}-signals": Expiring(["TERM"], 60_000),
            f"turn:{OTHER}": Expiring("3", DAY_MS),
        },
        reply=1,
        after={
            f"heartbeat:{ID}": FENCED,
            "beats": Scores({OTHER: "<f-2000>"}),
            "fleet": {OTHER: "{}"},
            "suspects": {OTHER: "<ms-9000>:<ms>"},
            "processes": {OTHER},
            f"turn:{OTHER}": Expiring("3", DAY_MS),
        },
        again=0,
    ),
    Case("the last sign is young", before={**OLD, "beats": Scores({ID: "<f-890>"})}, reply=0),
    Case("a job is left", before={**OLD, f"private:{ID}:low": ["a"]}, reply=0),
    Case("it may be alive", before={**OLD, f"heartbeat:{ID}": Expiring("41", 9000)}, reply=0),
    Case("no verdict yet", before={"beats": Scores({ID: "<f-901>"}), "fleet": {ID: "{}"}}, reply=0),
    Case(
        "it is not in the walk",
        before={f"heartbeat:{ID}": FENCED, "fleet": {ID: "{}"}, "beats": Scores({OTHER: "<f-2000>"})},
        reply=0,
    ),
]


@table(CASES)
def test_forget(stage: Stage, case: Case, full: bool) -> None:
    stage.play(case, stage.scripts.forget, USUAL, full=full)


@pytest.mark.parametrize("private", [[], USUAL["private"]])
def test_an_identity_without_queues_can_be_forgotten(stage: Stage, private: list[str]) -> None:
    case = Case(
        "no queues",
        before={f"heartbeat:{ID}": FENCED, "beats": Scores({ID: "<f-901>"})},
        reply=1,
        after={f"heartbeat:{ID}": FENCED},
        again=0,
    )
    stage.play(case, stage.scripts.forget, USUAL | {"private": private})
