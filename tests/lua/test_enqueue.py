"""enqueue.lua"""

from reliq.store.keys import Keyspace
from tests.lua.state import Case, Expiring, Stage, State, with_room

KEYS = Keyspace()
MARK_MS = 900_000
USUAL = {
    "sent": KEYS.sent("p1"),
    "queues": KEYS.queues,
    "queue": KEYS.queue("mail"),
    "number": 5,
    "mark_ms": MARK_MS,
    "name": "mail",
    "payloads": [b"a", b"b", b"\xff\x00"],
}
BEFORE: State = {"sent:p1": Expiring("4", 5000), "queues": {"low"}, "queue:mail": ["older"]}

CASES = [
    Case(
        "a producer's first call: the first payload is the first to be claimed",
        before={},
        reply=3,
        after={
            "sent:p1": Expiring("5", MARK_MS),
            "queues": {"mail"},
            "queue:mail": ["\udcff\x00", "b", "a"],
        },
        again=0,
    ),
    Case(
        "behind what is queued",
        before=BEFORE,
        reply=3,
        after={
            "sent:p1": Expiring("5", MARK_MS),
            "queues": {"low", "mail"},
            "queue:mail": ["\udcff\x00", "b", "a", "older"],
        },
        again=0,
    ),
    Case("the same number was applied before", before={**BEFORE, "sent:p1": Expiring("5", 5000)}, reply=0),
    Case("a later number was applied before", before={**BEFORE, "sent:p1": Expiring("6", 5000)}, reply=0),
    Case(
        "a queue that is no list: nothing is pushed and the number stays free",
        before={**BEFORE, "queue:mail": "text"},
        reply="refused: WRONGTYPE",
        broken=True,
    ),
]


@with_room(CASES)
def test_enqueue(stage: Stage, case: Case) -> None:
    stage.play(case, stage.scripts.enqueue, USUAL)


def test_a_full_server_refuses_and_nothing_changes(stage: Stage) -> None:
    case = Case("full", before=BEFORE, reply="refused: OOM")
    stage.play(case, stage.scripts.enqueue, USUAL, full=True)


def test_a_full_server_still_knows_what_it_pushed(stage: Stage) -> None:
    case = Case("full", before={**BEFORE, "sent:p1": Expiring("5", 5000)}, reply=0)
    stage.play(case, stage.scripts.enqueue, USUAL, full=True)


def test_a_thousand_in_one_step(stage: Stage) -> None:
    payloads = [str(number) for number in range(1000)]
    case = Case(
        "many",
        before={},
        call={"payloads": [text.encode() for text in payloads]},
        reply=1000,
        after={"sent:p1": Expiring("5", MARK_MS), "queues": {"mail"}, "queue:mail": payloads[::-1]},
        again=0,
    )
    stage.play(case, stage.scripts.enqueue, USUAL)
