"""register.lua"""

from reliq.store.keys import Keyspace
from tests.lua.state import DAY_MS, ID, OTHER, Case, Expiring, Scores, Stage, table

KEYS = Keyspace()
USUAL = {
    "heartbeat": KEYS.heartbeat(ID),
    "beats": KEYS.beats,
    "suspects": KEYS.suspects,
    "fleet": KEYS.fleet,
    "identity": ID,
    "ttl_ms": 10_000,
    "entry": b'{"pid":7}',
}

CASES = [
    Case(
        "a new identity enters the fleet and has beaten",
        before={},
        reply=["ok", "<us>"],
        after={
            f"heartbeat:{ID}": Expiring("<us>", 10_000),
            "beats": Scores({ID: "<f>"}),
            "fleet": {ID: '{"pid":7}'},
        },
    ),
    Case(
        "a known identity writes its entry anew and counts on; nobody watches it any more",
        before={
            f"heartbeat:{ID}": Expiring("41", 500),
            "beats": Scores({ID: "<f-9>", OTHER: "<f-3>"}),
            "suspects": {ID: "<ms-4000>:<ms-1000>"},
            "fleet": {ID: '{"pid":7,"old":true}', OTHER: '{"pid":8}'},
        },
        reply=["ok", "42"],
        after={
            f"heartbeat:{ID}": Expiring("42", 10_000),
            "beats": Scores({ID: "<f>", OTHER: "<f-3>"}),
            "fleet": {ID: '{"pid":7}', OTHER: '{"pid":8}'},
        },
        again=["ok", "43"],
        finally_={
            f"heartbeat:{ID}": Expiring("43", 10_000),
            "beats": Scores({ID: "<f>", OTHER: "<f-3>"}),
            "fleet": {ID: '{"pid":7}', OTHER: '{"pid":8}'},
        },
    ),
    Case(
        "a condemned identity does not enter again",
        before={f"heartbeat:{ID}": Expiring("fenced", DAY_MS - 5000), "suspects": {ID: "<ms-4000>:<ms-1000>"}},
        reply=["fenced"],
    ),
]


@table(CASES)
def test_register(stage: Stage, case: Case, full: bool) -> None:
    stage.play(case, stage.scripts.register, USUAL, full=full)
