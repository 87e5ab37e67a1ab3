"""turn.lua"""

import json
from typing import Any

from reliq.store.keys import Keyspace
from tests.lua.state import DAY_MS, ID, Case, Expiring, Scores, Stage, State, raw, table

KEYS = Keyspace()
YEARS_MS = 157_680_000_000
QUEUES = ["mail", "low"]
USUAL = {
    "heartbeat": KEYS.heartbeat(ID),
    "turn": KEYS.turn(ID),
    "crashes": KEYS.crashes,
    "paused": KEYS.paused,
    "retry": KEYS.retry,
    "dead": KEYS.dead,
    "processed": KEYS.stat("processed"),
    "processed_today": KEYS.stat("processed", 1000.0),
    "failed": KEYS.stat("failed"),
    "failed_today": KEYS.stat("failed", 1000.0),
    "trimmed": KEYS.stat("trimmed"),
    "public": [KEYS.queue(name) for name in QUEUES],
    "private": [KEYS.private(ID, name) for name in QUEUES],
    "number": 5,
    "capacity": 0,
    "max_bytes": 1024 * 1024,
    "now": 1000.0,
    "dead_before": 900.0,
    "dead_limit": 3,
    "order_count": 0,
    "ack_groups": 0,
    "rest": [],
}
MAIL, LOW = f"private:{ID}:mail", f"private:{ID}:low"
BEATING: State = {f"heartbeat:{ID}": Expiring("41", 9000)}
BEFORE: State = {**BEATING, f"turn:{ID}": Expiring("4", 500_000)}
AFTER: State = {**BEATING, f"turn:{ID}": Expiring("5", DAY_MS)}
STALE = ["stale", 5]


def turn(
    order: tuple[int, ...] = (),
    acks: tuple[str, ...] = (),
    others: tuple[tuple[str, ...], ...] = (),
    shares: tuple[int, ...] | None = None,
    limits: tuple[int, ...] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """The arguments of a turn.

    `order` are places from 1, `shares` what each gives first (nothing, unless said otherwise), `limits` the most to
    claim from each (all that fits); an ack is a payload, claimed from mail, whose first letter is its id; the others
    are (kind, payload[, replacement, score]), claimed from mail too, unless the kind ends with `2`.
    """
    rest: list[Any] = [*order, *(QUEUES[place - 1] for place in order), *(shares or (0 for _ in order))]
    rest += limits or (99 for _ in order)
    if acks:
        rest += (1, len(acks), json.dumps([payload[0] for payload in acks]), *raw(*acks))
    for kind, payload, *new in others:
        replacement, score = new or ("", "")
        rest += (kind.rstrip("2"), 2 if kind.endswith("2") else 1, *raw(payload, replacement, score, payload[0]))
    return {"order_count": len(order), "ack_groups": 1 if acks else 0, "rest": rest, **more}


def ok(
    *,
    refused: tuple[int, ...] = (),
    claims: tuple[int | str, ...] = (),
    emptied: tuple[int, ...] = (),
    paused: tuple[int, ...] = (),
    lengths: tuple[int, ...] = (0, 0),
    crashed: int = 0,
    trimmed: int = 0,
) -> list[Any]:
    """The reply of a turn that was applied."""
    groups: list[list[int | str]] = []
    for part in claims:
        if isinstance(part, int) and (not groups or groups[-1][0] != part):
            groups.append([part])
        elif isinstance(part, str):
            groups[-1].append(part)
    return ["ok", list(refused), groups, list(emptied), list(paused), list(lengths), crashed, trimmed]


def counted(processed: int, failed: int = 0) -> State:
    """The counters, when they had not been there."""
    counters: dict[str, str | Expiring] = {}
    for name, amount in (("processed", processed), ("failed", failed)):
        if amount:
            counters[f"stat:{name}"] = str(amount)
            counters[f"stat:{name}:1970-01-01"] = Expiring(str(amount), YEARS_MS)
    return counters


def case(
    name: str,
    before: State,
    reply: Any,
    after: State | None = None,
    call: dict[str, Any] | None = None,
    *,
    broken: bool = False,
) -> Case:
    """A turn that is applied: the second call is stale and changes nothing."""
    new = {**AFTER, **(before if after is None else after)}
    return Case(name, {**BEFORE, **before}, reply, after=new, call=call or {}, again=STALE, broken=broken)


NUMBERS = [
    Case(
        "a condemned identity neither settles nor claims",
        before={f"heartbeat:{ID}": Expiring("fenced", DAY_MS - 5000), MAIL: ["a"], "queue:mail": ["b"]},
        call=turn(order=(1,), acks=("a",), capacity=5),
        reply=["fenced"],
    ),
    Case(
        "a number that was applied before",
        before={**BEATING, f"turn:{ID}": Expiring("5", 500_000), MAIL: ["a"], "queue:mail": ["b"]},
        call=turn(order=(1,), acks=("a",), others=(("retry", "a", "A", "7.0"),), capacity=5),
        reply=STALE,
    ),
    Case(
        "an older number",
        before={**BEATING, f"turn:{ID}": Expiring("12", 500_000), MAIL: ["a"], "queue:mail": ["b"]},
        call=turn(order=(1,), acks=("a",), capacity=5),
        reply=["stale", 12],
    ),
    Case(
        "a number that was shut out while it was on its way",
        before={**BEATING, f"turn:{ID}": Expiring("5:4", 500_000), MAIL: ["a"], "queue:mail": ["b"]},
        call=turn(order=(1,), acks=("a",), capacity=5),
        reply=STALE,
    ),
    Case(
        "the first number after those that were shut out",
        before={**BEATING, f"turn:{ID}": Expiring("4:2", 500_000), MAIL: ["a"]},
        call=turn(acks=("a",)),
        reply=ok(),
        after={**AFTER, **counted(1)},
        again=STALE,
    ),
    Case(
        "the first turn; a missing heartbeat is no verdict",
        before={MAIL: ["a"]},
        call=turn(acks=("a",)),
        reply=ok(),
        after={f"turn:{ID}": Expiring("5", DAY_MS), **counted(1)},
        again=STALE,
    ),
    case("nothing to do: the lengths are told", {MAIL: ["a", "b"], LOW: ["c"]}, ok(lengths=(2, 1))),
]

CLAIMS = [
    case(
        "over several queues in their order, from the right, to the left",
        {"queue:mail": ["m2", "m1"], "queue:low": ["l2", "l1"], MAIL: ["held"]},
        ok(claims=(1, "m1", 1, "m2", 2, "l1"), emptied=(1,), lengths=(3, 1)),
        {MAIL: ["m2", "m1", "held"], "queue:low": ["l2"], LOW: ["l1"]},
        turn(order=(1, 2), capacity=3),
    ),
    case(
        "in another order",
        {"queue:mail": ["m2", "m1"], "queue:low": ["l2", "l1"]},
        ok(claims=(2, "l1", 2, "l2", 1, "m1"), emptied=(2,), lengths=(1, 2)),
        {"queue:mail": ["m2"], MAIL: ["m1"], LOW: ["l2", "l1"]},
        turn(order=(2, 1), capacity=3),
    ),
    case(
        "all there is",
        {"queue:low": ["\udcff\x00"]},
        ok(claims=(2, "\udcff\x00"), emptied=(1, 2), lengths=(0, 1)),
        {LOW: ["\udcff\x00"]},
        turn(order=(1, 2), capacity=9),
    ),
    case(
        "one queue of several",
        {"queue:mail": ["m1"], "queue:low": ["l1"]},
        ok(claims=(2, "l1"), emptied=(2,), lengths=(0, 1)),
        {"queue:mail": ["m1"], LOW: ["l1"]},
        turn(order=(2,), capacity=9),
    ),
    case(
        "no more from a queue than its limit: it may hold more, so the next one has to wait",
        {"queue:mail": ["m2", "m1"], "queue:low": ["l1"]},
        ok(claims=(1, "m1", 1, "m2"), lengths=(2, 0)),
        {MAIL: ["m2", "m1"], "queue:low": ["l1"]},
        turn(order=(1, 2), limits=(2, 9), capacity=9),
    ),
    case(
        "first each gives its share",
        {"queue:mail": ["m3", "m2", "m1"], "queue:low": ["l3", "l2", "l1"]},
        ok(claims=(1, "m1", 2, "l1", 2, "l2"), lengths=(1, 2)),
        {"queue:mail": ["m3", "m2"], MAIL: ["m1"], "queue:low": ["l3"], LOW: ["l2", "l1"]},
        turn(order=(1, 2), shares=(1, 2), capacity=3),
    ),
    case(
        "what one does not have of its share, the others give, in their order",
        {"queue:mail": ["m4", "m3", "m2", "m1"], "queue:low": ["l1"]},
        ok(claims=(1, "m1", 2, "l1", 1, "m2", 1, "m3"), emptied=(2,), lengths=(3, 1)),
        {"queue:mail": ["m4"], MAIL: ["m3", "m2", "m1"], LOW: ["l1"]},
        turn(order=(1, 2), shares=(1, 2), limits=(3, 9), capacity=9),
    ),
    case(
        "a paused queue gives no share",
        {"queue:mail": ["m1"], "queue:low": ["l1"], "paused": {"mail"}},
        ok(claims=(2, "l1"), emptied=(2,), paused=(1,), lengths=(0, 1)),
        {"queue:mail": ["m1"], LOW: ["l1"], "paused": {"mail"}},
        turn(order=(1, 2), shares=(1, 1), capacity=9),
    ),
    case(
        "a limit above what the capacity leaves",
        {"queue:mail": ["m1"], "queue:low": ["l3", "l2", "l1"]},
        ok(claims=(1, "m1", 2, "l1", 2, "l2"), emptied=(1,), lengths=(1, 2)),
        {MAIL: ["m1"], "queue:low": ["l3"], LOW: ["l2", "l1"]},
        turn(order=(1, 2), limits=(2, 5), capacity=3),
    ),
    case(
        "a limit of nothing: not looked at, nor what comes after",
        {"queue:mail": ["m1"], "queue:low": ["l1"]},
        ok(),
        {"queue:mail": ["m1"], "queue:low": ["l1"]},
        turn(order=(1, 2), limits=(0, 5), capacity=3),
    ),
    case(
        "a queue whose last job fills the capacity was not seen empty",
        {"queue:mail": ["m1"]},
        ok(claims=(1, "m1"), lengths=(1, 0)),
        {MAIL: ["m1"]},
        turn(order=(1, 2), capacity=1),
    ),
    case("nothing at all", {}, ok(emptied=(1, 2)), {}, turn(order=(1, 2), capacity=9)),
    case("no capacity", {"queue:mail": ["m1"], "paused": {"mail"}}, ok(), None, turn(order=(1, 2))),
    case("no queue", {"queue:mail": ["m1"]}, ok(), None, turn(capacity=9)),
    case(
        "no more than so many bytes",
        {"queue:mail": ["3", "22", "1"]},
        ok(claims=(1, "1", 1, "22"), lengths=(2, 0)),
        {"queue:mail": ["3"], MAIL: ["22", "1"]},
        turn(order=(1, 2), capacity=9, max_bytes=2),
    ),
    case(
        "but one, however large",
        {"queue:mail": ["2", "a large one"]},
        ok(claims=(1, "a large one"), lengths=(1, 0)),
        {"queue:mail": ["2"], MAIL: ["a large one"]},
        turn(order=(1, 2), capacity=9, max_bytes=1),
    ),
    case("no byte", {"queue:mail": ["1"]}, ok(), None, turn(order=(1,), capacity=9, max_bytes=0)),
    case(
        "a paused queue is passed over",
        {"queue:mail": ["m1"], "queue:low": ["l1"], "paused": {"mail", "other"}},
        ok(claims=(2, "l1"), emptied=(2,), paused=(1,), lengths=(0, 1)),
        {"queue:mail": ["m1"], LOW: ["l1"], "paused": {"mail", "other"}},
        turn(order=(1, 2), capacity=9),
    ),
    case(
        "a paused queue that its turn did not reach is not told",
        {"queue:mail": ["m1"], "paused": {"low"}},
        ok(claims=(1, "m1"), lengths=(1, 0)),
        {MAIL: ["m1"], "paused": {"low"}},
        turn(order=(1, 2), capacity=1),
    ),
    case(
        "all are paused",
        {"queue:mail": ["m1"], "queue:low": ["l1"], "paused": {"mail", "low"}},
        ok(paused=(2, 1)),
        None,
        turn(order=(2, 1), capacity=9),
    ),
    case(
        "there are crashes on record",
        {"queue:mail": ["m1"], "crashes": {"x": "1:60", "y": "2:60"}},
        ok(claims=(1, "m1"), lengths=(1, 0), crashed=2),
        {MAIL: ["m1"], "crashes": {"x": "1:60", "y": "2:60"}},
        turn(order=(1,), capacity=1),
    ),
    case(
        "settle first, then claim",
        {"queue:mail": ["m2", "m1"], MAIL: ["b", "a"]},
        ok(claims=(1, "m1"), lengths=(2, 0)),
        {"queue:mail": ["m2"], MAIL: ["m1", "b"], **counted(1)},
        turn(order=(1, 2), acks=("a",), capacity=1),
    ),
]

SETTLES = [
    case(
        "acks, counted; a success clears the crashes",
        {MAIL: ["c", "b\udcff", "a"], "crashes": {"a": "2:60", "c": "1:60"}},
        ok(lengths=(1, 0), crashed=2),
        {MAIL: ["c"], "crashes": {"c": "1:60"}, **counted(2)},
        turn(acks=("a", "b\udcff")),
    ),
    case(
        "an ack that removes nothing: refused, and nothing else of it happens",
        {MAIL: ["b"], LOW: ["a"], "crashes": {"a": "2:60"}},
        ok(refused=(1, 3), lengths=(0, 1), crashed=1),
        {LOW: ["a"], "crashes": {"a": "2:60"}, **counted(1)},
        turn(acks=("a", "b", "c")),
    ),
    case(
        "of two equal jobs the one that was claimed first goes, one an ack",
        {MAIL: ["a", "x", "a"]},
        ok(lengths=(2, 0)),
        {MAIL: ["a", "x"], **counted(1)},
        turn(acks=("a",)),
    ),
    case(
        "retry: its crashes stay on record",
        {MAIL: ["b", "a"], "retry": Scores({"old": 5.0}), "crashes": {"a": "1:60"}},
        ok(lengths=(1, 0), crashed=1),
        {MAIL: ["b"], "retry": Scores({"old": 5.0, "A": 1020.5}), "crashes": {"a": "1:60"}, **counted(1, 1)},
        turn(others=(("retry", "a", "A", "1020.5"),)),
    ),
    case(
        "bury: now, without crashes",
        {LOW: ["a"], "dead": Scores({"old": 950.0}), "crashes": {"a": "1:60"}},
        ok(crashed=1),
        {"dead": Scores({"old": 950.0, "A\udcff": 1000.0}), **counted(1, 1)},
        turn(others=(("bury2", "a", "A\udcff", ""),)),
    ),
    case(
        "drop: forgotten, with its crashes",
        {MAIL: ["a"], "crashes": {"a": "1:60"}},
        ok(crashed=1),
        counted(1, 1),
        turn(others=(("drop", "a"),)),
    ),
    case(
        "release: to the end that is claimed next, unharmed and not counted",
        {MAIL: ["b", "a"], "queue:mail": ["w"], "crashes": {"a": "1:60"}},
        ok(crashed=1),
        {"queue:mail": ["w", "b", "a"], "crashes": {"a": "1:60"}},
        turn(others=(("release", "b"), ("release", "a"))),
    ),
    case(
        "one that removes nothing is refused, whatever its kind",
        {LOW: ["a", "b", "c", "d"], "crashes": {"b": "1:60", "c": "1:60"}},
        ok(refused=(1, 2, 3, 4), lengths=(0, 4), crashed=2),
        None,
        turn(others=(("retry", "a", "A", "9.0"), ("bury", "b", "B", ""), ("drop", "c"), ("release", "d"))),
    ),
    case(
        "many of all kinds; positions count over acks and others",
        {MAIL: ["f", "e", "d", "c", "a"], LOW: ["g"]},
        ok(refused=(2, 4)),
        {
            "retry": Scores({"C": 1020.5}),
            "dead": Scores({"D": 1000.0}),
            "queue:mail": ["f"],
            "queue:low": ["g"],
            **counted(4, 3),
        },
        turn(
            acks=("a", "b"),
            others=(
                ("retry", "c", "C", "1020.5"),
                ("retry", "x", "X", "1020.5"),
                ("bury", "d", "D", ""),
                ("drop", "e"),
                ("release", "f"),
                ("release2", "g"),
            ),
        ),
    ),
    case(
        "counters go on; that of the day keeps its lifetime",
        {
            MAIL: ["b", "a"],
            "stat:processed": "10",
            "stat:failed": "5",
            "stat:processed:1970-01-01": Expiring("3", 700_000),
            "stat:failed:1970-01-01": Expiring("2", 600_000),
        },
        ok(),
        {
            "stat:processed": "12",
            "stat:failed": "6",
            "stat:processed:1970-01-01": Expiring("5", 700_000),
            "stat:failed:1970-01-01": Expiring("3", 600_000),
        },
        turn(acks=("a",), others=(("drop", "b"),)),
    ),
]

BURY = ("bury", "a", "A", "")
OLD_DEAD: dict[str, float | str] = {f"old{number:04}": number / 10 for number in range(1005)}

TRIMMING = [
    case(
        "the oldest of too many dead jobs go, and are counted",
        {MAIL: ["a"], "dead": Scores({"x": 950.0, "y": 960.0, "z": 970.0}), "stat:trimmed": "5"},
        ok(trimmed=1),
        {"dead": Scores({"y": 960.0, "z": 970.0, "A": 1000.0}), "stat:trimmed": "6", **counted(1, 1)},
        turn(others=(BURY,)),
    ),
    case(
        "dead jobs that are too old go, and are counted",
        {MAIL: ["a"], "dead": Scores({"x": 899.0, "y": 899.9, "z": 900.0})},
        ok(trimmed=2),
        {"dead": Scores({"z": 900.0, "A": 1000.0}), "stat:trimmed": "2", **counted(1, 1)},
        turn(others=(BURY,)),
    ),
    case(
        "no more than a thousand in one turn of too many",
        {MAIL: ["a"], "dead": Scores(OLD_DEAD)},
        ok(trimmed=1000),
        {
            "dead": Scores({**dict(list(OLD_DEAD.items())[1000:]), "A": 1000.0}),
            "stat:trimmed": "1000",
            **counted(1, 1),
        },
        turn(others=(BURY,), dead_before=-1.0),
    ),
    case(
        "no more than a thousand in one turn of those that are too old",
        {MAIL: ["a"], "dead": Scores(OLD_DEAD)},
        ok(trimmed=1000),
        {
            "dead": Scores({**dict(list(OLD_DEAD.items())[1000:]), "A": 1000.0}),
            "stat:trimmed": "1000",
            **counted(1, 1),
        },
        turn(others=(BURY,), dead_limit=10_000),
    ),
    case(
        "where nothing is buried, nothing is trimmed",
        {MAIL: ["b"], "dead": Scores({"x": 1.0, "y": 2.0, "z": 3.0, "v": 4.0})},
        ok(refused=(2,)),
        {"dead": Scores({"x": 1.0, "y": 2.0, "z": 3.0, "v": 4.0}), **counted(1)},
        turn(acks=("b",), others=(BURY,)),
    ),
]

BROKEN = [
    Case(
        "a retry set that is none: the turn is refused before anything is removed, and its number stays free",
        before={**BEFORE, MAIL: ["b", "a"], "queue:mail": ["c"], "retry": "text"},
        call=turn(order=(1,), acks=("b",), others=(("retry", "a", "A", "9.0"),), capacity=5),
        reply="refused: WRONGTYPE",
        broken=True,
    ),
    Case(
        "a dead set that is none: likewise",
        before={**BEFORE, MAIL: ["a"], "dead": ["text"]},
        call=turn(others=(("bury", "a", "A", ""),)),
        reply="refused: WRONGTYPE",
        broken=True,
    ),
    case(
        "who only acks and claims does not need them",
        {MAIL: ["a"], "queue:mail": ["c"], "retry": "text", "dead": "text"},
        ok(claims=(1, "c"), emptied=(1,), lengths=(1, 0)),
        {MAIL: ["c"], "retry": "text", "dead": "text", **counted(1)},
        turn(order=(1,), acks=("a",), capacity=5),
        broken=True,
    ),
]


@table(NUMBERS + CLAIMS + SETTLES + TRIMMING + BROKEN)
def test_turn(stage: Stage, case: Case, full: bool) -> None:
    stage.play(case, stage.scripts.turn, USUAL, full=full)


def test_a_turn_of_a_thousand(stage: Stage) -> None:
    """Numbers of arguments and keys that a real turn can have."""
    names = [f"q{number}" for number in range(200)]
    jobs = [f"j{number}" for number in range(1000)]
    call = {
        "public": [KEYS.queue(name) for name in names],
        "private": [KEYS.private(ID, name) for name in names],
        "capacity": 1000,
        "order_count": 200,
        "ack_groups": 1,
        "rest": [
            *range(1, 201),
            *names,
            *[0] * 200,
            *[1000] * 200,
            *(200, len(jobs), json.dumps(jobs), *raw(*jobs)),
        ],
    }
    claimed = [f"c{number}" for number in range(500)]
    stage.play(
        Case(
            "a thousand",
            before={f"private:{ID}:q199": jobs[::-1], "queue:q0": claimed[::-1]},
            call=call,
            reply=ok(
                claims=tuple(part for text in claimed for part in (1, text)),
                emptied=tuple(range(1, 201)),
                lengths=(500, *[0] * 199),
            ),
            after={f"private:{ID}:q0": claimed[::-1], f"turn:{ID}": Expiring("5", DAY_MS), **counted(1000)},
            again=STALE,
        ),
        stage.scripts.turn,
        USUAL,
    )
