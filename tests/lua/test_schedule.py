"""schedule.lua"""

from reliq.store.keys import Keyspace
from tests.lua.state import Case, Expiring, Scores, Stage, State, with_room

KEYS = Keyspace()
MARK_MS = 900_000
USUAL = {
    "sent": KEYS.sent("p1"),
    "schedule": KEYS.schedule,
    "number": 5,
    "mark_ms": MARK_MS,
    "entries": ["1700000000.25", b"a", "9.0", b"\xff"],
}
BEFORE: State = {"sent:p1": Expiring("4", 5000), "schedule": Scores({"older": 3.5})}

CASES = [
    Case(
        "a producer's first call",
        before={},
        reply=2,
        after={"sent:p1": Expiring("5", MARK_MS), "schedule": Scores({"a": 1700000000.25, "\udcff": 9.0})},
        again=0,
    ),
    Case(
        "beside what is scheduled",
        before=BEFORE,
        reply=2,
        after={
            "sent:p1": Expiring("5", MARK_MS),
            "schedule": Scores({"older": 3.5, "a": 1700000000.25, "\udcff": 9.0}),
        },
        again=0,
    ),
    Case("the same number was applied before", before={**BEFORE, "sent:p1": Expiring("5", 5000)}, reply=0),
    Case("a later number was applied before", before={**BEFORE, "sent:p1": Expiring("6", 5000)}, reply=0),
    Case(
        "one due time that is no number: nothing is added and the number stays free",
        before=BEFORE,
        call={"entries": ["1.0", b"a", "soon", b"b"]},
        reply="refused: ERR",
    ),
]


@with_room(CASES)
def test_schedule(stage: Stage, case: Case) -> None:
    stage.play(case, stage.scripts.schedule, USUAL)


def test_a_full_server_refuses_and_nothing_changes(stage: Stage) -> None:
    case = Case("full", before=BEFORE, reply="refused: OOM")
    stage.play(case, stage.scripts.schedule, USUAL, full=True)


def test_a_full_server_still_knows_what_it_added(stage: Stage) -> None:
    case = Case("full", before={**BEFORE, "sent:p1": Expiring("5", 5000)}, reply=0)
    stage.play(case, stage.scripts.schedule, USUAL, full=True)


def test_a_thousand_in_one_step(stage: Stage) -> None:
    payloads = {str(number): float(number) for number in range(1000)}
    case = Case(
        "many",
        before={},
        call={"entries": [part for text, at in payloads.items() for part in (repr(at), text)]},
        reply=1000,
        after={"sent:p1": Expiring("5", MARK_MS), "schedule": Scores(dict(payloads))},
        again=0,
    )
    stage.play(case, stage.scripts.schedule, USUAL)
