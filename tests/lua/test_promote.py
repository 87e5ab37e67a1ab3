"""promote.lua"""

from reliq.store.keys import Keyspace
from tests.lua.state import Case, Expiring, Scores, Stage, table

KEYS = Keyspace()
# mail is target 1, low is target 2; 0 is the dead set
USUAL = {
    "source": KEYS.schedule,
    "queues": KEYS.queues,
    "dead": KEYS.dead,
    "target": [KEYS.queue("mail"), KEYS.queue("low")],
    "now": 100.5,
    "name_count": 2,
    "rest": ["mail", "low", b"a", b"A", 1, b"b", b"B", 2, b"c", b"C", 1],
}
DUE = Scores({"a": 90.0, "b": 100.0, "c": 100.5, "other": 1.0})

CASES = [
    Case(
        "to their queues, the one that is due longest is claimed first",
        before={"schedule": DUE, "queue:mail": ["older"], "queues": {"old"}},
        reply=3,
        after={
            "schedule": Scores({"other": 1.0}),
            "queue:mail": ["C", "A", "older"],
            "queue:low": ["B"],
            "queues": {"old", "mail", "low"},
        },
        again=0,
    ),
    Case(
        "moved away by somebody else meanwhile: left alone, and its queue is not named",
        before={"schedule": Scores({"a": 90.0, "c": 100.0, "other": 1.0})},
        reply=2,
        after={"schedule": Scores({"other": 1.0}), "queue:mail": ["C", "A"], "queues": {"mail"}},
        again=0,
    ),
    Case(
        "put off by somebody else meanwhile: not due any more",
        before={"schedule": Scores({"a": 100.6, "b": 100.5})},
        reply=1,
        after={"schedule": Scores({"a": 100.6}), "queue:low": ["B"], "queues": {"low"}},
        again=0,
    ),
    Case(
        "one that names no queue dies now, and says why",
        before={"schedule": Scores({"a": 90.0, "b": 91.0}), "dead": Scores({"older": 5.0})},
        call={"rest": ["mail", "low", b"a", b"A with reason", 0, b"b", b"B", 2]},
        reply=2,
        after={"dead": Scores({"older": 5.0, "A with reason": 100.5}), "queue:low": ["B"], "queues": {"low"}},
        again=0,
    ),
    Case(
        "bytes are handed on as they are",
        before={"schedule": Scores({"\udcff\x00": 90.0})},
        call={"rest": ["mail", "low", b"\xff\x00", b"\x00\xfe", 1]},
        reply=1,
        after={"queue:mail": ["\x00\udcfe"], "queues": {"mail"}},
        again=0,
    ),
    Case("nothing to do", before={}, reply=0),
    Case(
        "an expiry on the source, which would lose jobs, is taken off",
        before={"schedule": Expiring(Scores({"other": 1.0}), 5000)},
        reply=0,
        after={"schedule": Scores({"other": 1.0})},
    ),
    Case(
        "from the retries, without targets",
        before={"retry": Scores({"a": 90.0})},
        call={"source": KEYS.retry, "target": [], "name_count": 0, "rest": [b"a", b"A", 0]},
        reply=1,
        after={"dead": Scores({"A": 100.5})},
        again=0,
    ),
    Case(
        "a queue that is no list: its job goes to the dead set, the others are moved",
        before={"schedule": DUE, "queue:low": "text"},
        reply=3,
        after={
            "schedule": Scores({"other": 1.0}),
            "queue:mail": ["C", "A"],
            "queue:low": "text",
            "dead": Scores({"B": 100.5}),
            "queues": {"mail"},
        },
        again=0,
        broken=True,
    ),
]


@table(CASES)
def test_promote(stage: Stage, case: Case, full: bool) -> None:
    stage.play(case, stage.scripts.promote, USUAL, full=full)
