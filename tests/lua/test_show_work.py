"""show_work.lua"""

from reliq.store.keys import Keyspace
from tests.lua.state import DAY_MS, ID, Case, Expiring, Stage, table

KEYS = Keyspace()
USUAL = {
    "heartbeat": KEYS.heartbeat(ID),
    "work": KEYS.work(ID),
    "shown_ms": 60_000,
    "entries": ["t1", b'{"queue":"mail"}', "t2", b"{}"],
}
BEATING = {f"heartbeat:{ID}": Expiring("41", 9000)}
WORK = Expiring({"t1": '{"queue":"mail"}', "t2": "{}"}, 60_000)

CASES = [
    Case("what runs", before={**BEATING}, reply=1, after={**BEATING, f"{ID}:work": WORK}),
    Case(
        "what ran before is gone",
        before={**BEATING, f"{ID}:work": Expiring({"t1": "{}", "t9": "{}"}, 500)},
        reply=1,
        after={**BEATING, f"{ID}:work": WORK},
    ),
    Case(
        "nothing runs",
        before={**BEATING, f"{ID}:work": WORK},
        call={"entries": []},
        reply=1,
        after={**BEATING},
    ),
    Case(
        "the last view of a condemned identity is kept for the reaper",
        before={f"heartbeat:{ID}": Expiring("fenced", DAY_MS - 5000), f"{ID}:work": Expiring({"t9": "{}"}, 60_000)},
        reply=0,
    ),
]


@table(CASES)
def test_show_work(stage: Stage, case: Case, full: bool) -> None:
    stage.play(case, stage.scripts.show_work, USUAL, full=full)
