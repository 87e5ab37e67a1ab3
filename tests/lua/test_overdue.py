"""overdue.lua"""

from reliq.store.keys import Keyspace
from tests.lua.state import ID, OTHER, Case, Elapsed, Scores, Stage, table

KEYS = Keyspace()
USUAL = {"beats": KEYS.beats, "late_ms": 2000, "most": 10}
BEATS = {"beats": Scores({ID: "<f-3>", OTHER: "<f-9>", "db:1:000000000000": "<f-1>"})}

CASES = [
    Case("nobody has ever beaten", before={}, reply=[]),
    Case("who is late, the oldest first", before=BEATS, reply=[OTHER, Elapsed(9000), ID, Elapsed(3000)]),
    Case("nobody is late", before=BEATS, call={"late_ms": 10_000}, reply=[]),
    Case("no more than asked for", before=BEATS, call={"most": 1}, reply=[OTHER, Elapsed(9000)]),
]


@table(CASES)
def test_overdue(stage: Stage, case: Case, full: bool) -> None:
    stage.play(case, stage.scripts.overdue, USUAL, full=full)
