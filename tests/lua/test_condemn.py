"""condemn.lua"""

from reliq.store.keys import Keyspace
from tests.lua.state import DAY_MS, ID, OTHER, Case, Expiring, Stage, table

KEYS = Keyspace()
USUAL = {
    "heartbeat": KEYS.heartbeat(ID),
    "suspects": KEYS.suspects,
    "identity": ID,
    "evidence": "watch",
    "confirm_ms": 8000,
    "gap_ms": 2000,
    "counter": "",
}
VERDICT = {f"heartbeat:{ID}": Expiring("fenced", DAY_MS)}
BEATING = Expiring("41", 9000)

CASES = [
    Case(
        "condemned before: the verdict stands and is not renewed",
        before={f"heartbeat:{ID}": Expiring("fenced", DAY_MS - 50_000)},
        reply=["fenced"],
    ),
    Case(
        "watch: missing for as long as it takes, without a gap",
        before={"suspects": {ID: "<ms-8000>:<ms-1000>", OTHER: "<ms-4000>:<ms-1000>"}},
        reply=["condemned"],
        after={**VERDICT, "suspects": {OTHER: "<ms-4000>:<ms-1000>"}},
        again=["fenced"],
    ),
    Case(
        "watch: not watched for long enough",
        before={"suspects": {ID: "<ms-6000>:<ms-1000>"}},
        reply=["alive", ""],
    ),
    Case(
        "watch: the last look is too long ago",
        before={"suspects": {ID: "<ms-20000>:<ms-2001>"}},
        reply=["alive", ""],
    ),
    Case("watch: nobody has watched", before={"suspects": {OTHER: "<ms-9000>:<ms-1000>"}}, reply=["alive", ""]),
    Case("watch: a mark that cannot be read", before={"suspects": {ID: "yesterday"}}, reply=["alive", ""]),
    Case(
        "watch: the heartbeat came back, whatever the mark says",
        before={f"heartbeat:{ID}": BEATING, "suspects": {ID: "<ms-9000>:<ms-1000>"}},
        reply=["alive", "41"],
    ),
    Case(
        "counter: it has not beaten since",
        before={f"heartbeat:{ID}": BEATING, "suspects": {ID: "<ms-500>:<ms-500>"}},
        call={"evidence": "counter", "counter": "41"},
        reply=["condemned"],
        after=VERDICT,
        again=["fenced"],
    ),
    Case(
        "counter: it has beaten since",
        before={f"heartbeat:{ID}": BEATING},
        call={"evidence": "counter", "counter": "40"},
        reply=["alive", "41"],
    ),
    Case(
        "counter: a missing heartbeat proves nothing",
        before={"suspects": {ID: "<ms-9000>:<ms-1000>"}},
        call={"evidence": "counter", "counter": "41"},
        reply=["alive", ""],
    ),
    Case(
        "counter: a missing heartbeat is not the empty counter",
        before={},
        call={"evidence": "counter", "counter": ""},
        reply=["alive", ""],
    ),
    Case(
        "child: the counter of its last beat",
        before={f"heartbeat:{ID}": BEATING},
        call={"evidence": "child", "counter": "41"},
        reply=["condemned"],
        after=VERDICT,
        again=["fenced"],
    ),
    Case(
        "child: who beats for it knows that a missing heartbeat stays missing",
        before={},
        call={"evidence": "child", "counter": "41"},
        reply=["condemned"],
        after=VERDICT,
        again=["fenced"],
    ),
    Case(
        "child: somebody else beat for it",
        before={f"heartbeat:{ID}": BEATING},
        call={"evidence": "child", "counter": "40"},
        reply=["alive", "41"],
    ),
]


@table(CASES)
def test_condemn(stage: Stage, case: Case, full: bool) -> None:
    stage.play(case, stage.scripts.condemn, USUAL, full=full)
