"""beat.lua"""

from reliq.store.keys import Keyspace
from tests.lua.state import DAY_MS, ID, OTHER, Case, Expiring, Scores, Stage, table

KEYS = Keyspace()
USUAL = {
    "heartbeat": KEYS.heartbeat(ID),
    "beats": KEYS.beats,
    "suspects": KEYS.suspects,
    "shown": KEYS.shown(ID),
    "work": KEYS.work(ID),
    "identity": ID,
    "ttl_ms": 10_000,
    "shown_ms": 60_000,
}

CASES = [
    Case(
        "counts on and lasts for the TTL again",
        before={
            f"heartbeat:{ID}": Expiring("41", 500),
            "beats": Scores({ID: "<f-9>", OTHER: "<f-3>"}),
        },
        reply=["ok", "42"],
        after={
            f"heartbeat:{ID}": Expiring("42", 10_000),
            "beats": Scores({ID: "<f>", OTHER: "<f-3>"}),
        },
        again=["ok", "43"],
        finally_={
            f"heartbeat:{ID}": Expiring("43", 10_000),
            "beats": Scores({ID: "<f>", OTHER: "<f-3>"}),
        },
    ),
    Case(
        "an expired heartbeat starts at the server's microseconds, and the watch over it ends",
        before={
            "beats": Scores({ID: "<f-20>"}),
            "suspects": {ID: "<ms-4000>:<ms-1000>", OTHER: "<ms-4000>:<ms-1000>"},
        },
        reply=["ok", "<us>"],
        after={
            f"heartbeat:{ID}": Expiring("<us>", 10_000),
            "beats": Scores({ID: "<f>"}),
            "suspects": {OTHER: "<ms-4000>:<ms-1000>"},
        },
    ),
    Case(
        "what Sidekiq's view shows lives on, and keeps its content",
        before={
            f"heartbeat:{ID}": Expiring("41", 500),
            ID: Expiring({"busy": "1"}, 700),
            f"{ID}:work": Expiring({"t1": "{}"}, 700),
        },
        reply=["ok", "42"],
        after={
            f"heartbeat:{ID}": Expiring("42", 10_000),
            "beats": Scores({ID: "<f>"}),
            ID: Expiring({"busy": "1"}, 60_000),
            f"{ID}:work": Expiring({"t1": "{}"}, 60_000),
        },
        again=["ok", "43"],
        finally_={
            f"heartbeat:{ID}": Expiring("43", 10_000),
            "beats": Scores({ID: "<f>"}),
            ID: Expiring({"busy": "1"}, 60_000),
            f"{ID}:work": Expiring({"t1": "{}"}, 60_000),
        },
    ),
    Case(
        "a condemned identity changes nothing",
        before={
            f"heartbeat:{ID}": Expiring("fenced", DAY_MS - 5000),
            "beats": Scores({ID: "<f-20>"}),
            "suspects": {ID: "<ms-4000>:<ms-1000>"},
            ID: Expiring({"busy": "1"}, 700),
        },
        reply=["fenced"],
    ),
]


@table(CASES)
def test_beat(stage: Stage, case: Case, full: bool) -> None:
    stage.play(case, stage.scripts.beat, USUAL, full=full)
