"""reap.lua"""

import pytest

from reliq.job import anonymous_jid
from reliq.store.keys import Keyspace
from tests.lua.state import DAY_MS, ID, Case, Expiring, Scores, Stage, State, raw, table

KEYS = Keyspace()
WINDOW_S = 259_200
USUAL = {
    "heartbeat": KEYS.heartbeat(ID),
    "private": KEYS.private(ID, "mail"),
    "public": KEYS.queue("mail"),
    "quarantine": KEYS.quarantine("mail"),
    "dead": KEYS.dead,
    "crashes": KEYS.crashes,
    "trimmed": KEYS.stat("trimmed"),
    "items": 1000,
    "max_bytes": 1024 * 1024,
    "crash_limit": 3,
    "window_s": WINDOW_S,
    "dead_limit": 10_000,
    "dead_for_s": 1000,
    "reason": b'"it said \\"no\\""',
    "started": [],
}
PRIVATE = f"private:{ID}:mail"
BEFORE: State = {f"heartbeat:{ID}": Expiring("fenced", DAY_MS - 50_000)}
AFTER: State = {f"heartbeat:{ID}": Expiring("fenced", DAY_MS)}
NOTHING_LEFT = ["ok", 0, [], [], []]
JOB = '{"class":"A","jid":"j1","args":[1.0E+2]}'
REASON = '"error_class":"Crashed","error_message":"it said \\"no\\"","failed_at":<s>.0}'
BURIED = JOB[:-1] + "," + REASON
DEEP = '{"jid":"j1","args":' + "[" * 1200 + "]" * 1200 + "}"
"""Deeper than the scripts' JSON reader goes."""


def stand_in(text: str) -> str:
    """The id of a payload that has none."""
    return anonymous_jid(*raw(text))


BACK = [
    Case(
        "an identity that beats keeps its jobs",
        before={f"heartbeat:{ID}": Expiring("41", 9000), PRIVATE: ["a"]},
        reply=["alive"],
    ),
    Case("a missing heartbeat is no verdict", before={PRIVATE: ["a"]}, reply=["alive"]),
    Case("nothing to sweep: the verdict is kept for a day more", before=BEFORE, reply=NOTHING_LEFT, after=AFTER),
    Case(
        "to the end that is claimed next, in the old order, bytes as they are",
        before={**BEFORE, PRIVATE: ["newest", "\udcff\x00{", "oldest"], "queue:mail": ["later", "soon"]},
        reply=["ok", 0, ["newest", "\udcff\x00{", "oldest"], [], []],
        after={**AFTER, "queue:mail": ["later", "soon", "newest", "\udcff\x00{", "oldest"]},
        again=NOTHING_LEFT,
    ),
    Case(
        "a call moves so many",
        before={**BEFORE, PRIVATE: ["3", "2", "1"], "queue:mail": ["w"]},
        call={"items": 2},
        reply=["ok", 1, ["3", "2"], [], []],
        after={**AFTER, PRIVATE: ["1"], "queue:mail": ["w", "3", "2"]},
        again=["ok", 0, ["1"], [], []],
        finally_={**AFTER, "queue:mail": ["w", "3", "2", "1"]},
    ),
    Case(
        "a call moves so many bytes, but at least one job",
        before={**BEFORE, PRIVATE: ["a large one", "bb", "cc", "dd"]},
        call={"max_bytes": 4},
        reply=["ok", 3, ["a large one"], [], []],
        after={**AFTER, PRIVATE: ["bb", "cc", "dd"], "queue:mail": ["a large one"]},
        again=["ok", 1, ["bb", "cc"], [], []],
        finally_={**AFTER, PRIVATE: ["dd"], "queue:mail": ["a large one", "bb", "cc"]},
    ),
    Case(
        "a list that is no list",
        before={**BEFORE, PRIVATE: ["a"], "queue:mail": "text"},
        reply="refused: WRONGTYPE",
        after={**AFTER, PRIVATE: ["a"], "queue:mail": "text"},
        broken=True,
    ),
]

CRASHES = [
    Case(
        "who had not started is not blamed",
        before={**BEFORE, PRIVATE: [JOB]},
        call={"started": ["j2"]},
        reply=["ok", 0, [JOB], [], []],
        after={**AFTER, "queue:mail": [JOB]},
        again=NOTHING_LEFT,
    ),
    Case(
        "the first crash is put on record, the job goes back",
        before={**BEFORE, PRIVATE: [JOB], "crashes": {"j2": "1:<s-60>"}},
        call={"started": ["j1", "j9"]},
        reply=["ok", 0, [JOB], [], []],
        after={**AFTER, "queue:mail": [JOB], "crashes": {"j1": "1:<s>", "j2": "1:<s-60>"}},
        again=NOTHING_LEFT,
    ),
    Case(
        "the second crash sends it to the quarantine; the window counts from the first",
        before={**BEFORE, PRIVATE: [JOB], "crashes": {"j1": "1:<s-60>"}, "quarantine:mail": ["w"]},
        call={"started": ["j1"]},
        reply=["ok", 0, [], [JOB], []],
        after={**AFTER, "quarantine:mail": ["w", JOB], "crashes": {"j1": "2:<s-60>"}},
        again=NOTHING_LEFT,
    ),
    Case(
        "the third crash buries it, and its record goes",
        before={**BEFORE, PRIVATE: [JOB], "crashes": {"j1": "2:<s-60>", "j2": "1:<s-60>"}},
        call={"started": ["j1"]},
        reply=["ok", 0, [], [], [BURIED]],
        after={**AFTER, "dead": Scores({BURIED: "<s>"}), "crashes": {"j2": "1:<s-60>"}},
        again=NOTHING_LEFT,
    ),
    Case(
        "one crash on record, not started this time",
        before={**BEFORE, PRIVATE: [JOB], "crashes": {"j1": "1:<s-60>"}},
        reply=["ok", 0, [JOB], [], []],
        after={**AFTER, "queue:mail": [JOB], "crashes": {"j1": "1:<s-60>"}},
        again=NOTHING_LEFT,
    ),
    Case(
        "two crashes on record, not started this time: it waits in the quarantine again",
        before={**BEFORE, PRIVATE: [JOB], "crashes": {"j1": "2:<s-60>"}},
        reply=["ok", 0, [], [JOB], []],
        after={**AFTER, "quarantine:mail": [JOB], "crashes": {"j1": "2:<s-60>"}},
        again=NOTHING_LEFT,
    ),
    Case(
        "not started, over a limit that was lowered: not buried",
        before={**BEFORE, PRIVATE: [JOB], "crashes": {"j1": "4:<s-60>"}},
        reply=["ok", 0, [], [JOB], []],
        after={**AFTER, "quarantine:mail": [JOB], "crashes": {"j1": "4:<s-60>"}},
        again=NOTHING_LEFT,
    ),
    Case(
        "a third crash, still in the window",
        before={**BEFORE, PRIVATE: [JOB], "crashes": {"j1": f"2:<s-{WINDOW_S - 10}>"}},
        call={"started": ["j1"]},
        reply=["ok", 0, [], [], [BURIED]],
        after={**AFTER, "dead": Scores({BURIED: "<s>"})},
        again=NOTHING_LEFT,
    ),
    Case(
        "crashes out of the window do not count",
        before={**BEFORE, PRIVATE: [JOB], "crashes": {"j1": f"2:<s-{WINDOW_S + 1}>"}},
        call={"started": ["j1"]},
        reply=["ok", 0, [JOB], [], []],
        after={**AFTER, "queue:mail": [JOB], "crashes": {"j1": "1:<s>"}},
        again=NOTHING_LEFT,
    ),
    Case(
        "crashes out of the window, not started this time",
        before={**BEFORE, PRIVATE: [JOB], "crashes": {"j1": f"2:<s-{WINDOW_S + 1}>"}},
        reply=["ok", 0, [JOB], [], []],
        after={**AFTER, "queue:mail": [JOB], "crashes": {"j1": f"2:<s-{WINDOW_S + 1}>"}},
        again=NOTHING_LEFT,
    ),
    Case(
        "a record that cannot be read counts as none",
        before={**BEFORE, PRIVATE: [JOB], "crashes": {"j1": "often"}},
        call={"started": ["j1"]},
        reply=["ok", 0, [JOB], [], []],
        after={**AFTER, "queue:mail": [JOB], "crashes": {"j1": "1:<s>"}},
        again=NOTHING_LEFT,
    ),
    Case(
        "a limit of one",
        before={**BEFORE, PRIVATE: [JOB]},
        call={"started": ["j1"], "crash_limit": 1},
        reply=["ok", 0, [], [], [BURIED]],
        after={**AFTER, "dead": Scores({BURIED: "<s>"})},
        again=NOTHING_LEFT,
    ),
    Case(
        "each job of a batch by its own record",
        before={
            **BEFORE,
            PRIVATE: ['{"jid":"c"}', '{"jid":"n"}', JOB, '{"jid":"b"}', '{"jid":"a"}'],
            "crashes": {"b": "1:<s-60>", "j1": "2:<s-60>"},
            "queue:mail": ["w"],
        },
        call={"started": ["a", "b", "c", "j1"]},
        reply=["ok", 0, ['{"jid":"c"}', '{"jid":"n"}', '{"jid":"a"}'], ['{"jid":"b"}'], [BURIED]],
        after={
            **AFTER,
            "queue:mail": ["w", '{"jid":"c"}', '{"jid":"n"}', '{"jid":"a"}'],
            "quarantine:mail": ['{"jid":"b"}'],
            "dead": Scores({BURIED: "<s>"}),
            "crashes": {"a": "1:<s>", "b": "2:<s-60>", "c": "1:<s>"},
        },
        again=NOTHING_LEFT,
    ),
    Case(
        "only the jobs of this batch are counted",
        before={**BEFORE, PRIVATE: ['{"jid":"b"}', '{"jid":"a"}']},
        call={"started": ["a", "b"], "items": 1},
        reply=["ok", 1, ['{"jid":"b"}'], [], []],
        after={**AFTER, PRIVATE: ['{"jid":"a"}'], "queue:mail": ['{"jid":"b"}'], "crashes": {"b": "1:<s>"}},
        again=["ok", 0, ['{"jid":"a"}'], [], []],
        finally_={
            **AFTER,
            "queue:mail": ['{"jid":"b"}', '{"jid":"a"}'],
            "crashes": {"a": "1:<s>", "b": "1:<s>"},
        },
    ),
    Case(
        "an id that is written with escapes is the same id",
        before={**BEFORE, PRIVATE: ['{"jid":"\\u00e9\\ud83d\\ude00\\/"}']},
        call={"started": ["é😀/"]},
        reply=["ok", 0, ['{"jid":"\\u00e9\\ud83d\\ude00\\/"}'], [], []],
        after={**AFTER, "queue:mail": ['{"jid":"\\u00e9\\ud83d\\ude00\\/"}'], "crashes": {"é😀/": "1:<s>"}},
        again=NOTHING_LEFT,
    ),
    Case(
        "a dead set that is none: the job stays where it is",
        before={**BEFORE, PRIVATE: [JOB], "crashes": {"j1": "2:<s-60>"}, "dead": "text"},
        call={"started": ["j1"]},
        reply="refused: WRONGTYPE",
        after={**AFTER, PRIVATE: [JOB], "crashes": {"j1": "2:<s-60>"}, "dead": "text"},
        broken=True,
    ),
]

OLD_DEAD: dict[str, float | str] = {f"old{number:04}": 1.0 + number for number in range(1005)}
THIRD = {"started": ["j1"]}
THIRD_BEFORE: State = {**BEFORE, PRIVATE: [JOB], "crashes": {"j1": "2:<s-60>"}}
THIRD_REPLY = ["ok", 0, [], [], [BURIED]]

TRIMMING = [
    Case(
        "the oldest of too many dead jobs go, and are counted",
        before={**THIRD_BEFORE, "dead": Scores({"a": "<s-30>", "b": "<s-20>", "c": "<s-10>"}), "stat:trimmed": "5"},
        call={**THIRD, "dead_limit": 2},
        reply=THIRD_REPLY,
        after={**AFTER, "dead": Scores({"c": "<s-10>", BURIED: "<s>"}), "stat:trimmed": "7"},
        again=NOTHING_LEFT,
    ),
    Case(
        "dead jobs that are too old go, and are counted",
        before={**THIRD_BEFORE, "dead": Scores({"a": "<s-2000>", "b": "<s-1002>", "c": "<s-900>"})},
        call=THIRD,
        reply=THIRD_REPLY,
        after={**AFTER, "dead": Scores({"c": "<s-900>", BURIED: "<s>"}), "stat:trimmed": "2"},
        again=NOTHING_LEFT,
    ),
    Case(
        "no more than a thousand in one call of too many",
        before={**THIRD_BEFORE, "dead": Scores(OLD_DEAD)},
        call={**THIRD, "dead_limit": 2, "dead_for_s": 10**10},
        reply=THIRD_REPLY,
        after={
            **AFTER,
            "dead": Scores({**dict(list(OLD_DEAD.items())[1000:]), BURIED: "<s>"}),
            "stat:trimmed": "1000",
        },
        again=NOTHING_LEFT,
    ),
    Case(
        "no more than a thousand in one call of those that are too old",
        before={**THIRD_BEFORE, "dead": Scores(OLD_DEAD)},
        call=THIRD,
        reply=THIRD_REPLY,
        after={
            **AFTER,
            "dead": Scores({**dict(list(OLD_DEAD.items())[1000:]), BURIED: "<s>"}),
            "stat:trimmed": "1000",
        },
        again=NOTHING_LEFT,
    ),
    Case(
        "where nothing is buried, nothing is trimmed",
        before={**BEFORE, PRIVATE: [JOB], "dead": Scores({"a": "<s-2000>", "b": "<s-1>"})},
        call={"dead_limit": 1},
        reply=["ok", 0, [JOB], [], []],
        after={**AFTER, "queue:mail": [JOB], "dead": Scores({"a": "<s-2000>", "b": "<s-1>"})},
        again=NOTHING_LEFT,
    ),
]


@table(BACK + CRASHES + TRIMMING)
def test_reap(stage: Stage, case: Case, full: bool) -> None:
    stage.play(case, stage.scripts.reap, USUAL, full=full)


WITHOUT_ID = {
    "no id": '{"class":"A"}',
    "null": '{"class":"A","jid":null}',
    "a number": '{"class":"A","jid":5}',
    "an empty id": '{"class":"A","jid":""}',
    "an object": "{}",
}
NO_JOB = {
    "broken": '{"class":"A","jid":"j1"',
    "text behind": '{"jid":"j1"} {"jid":"j1"}',
    "no UTF-8": "\udcff\udcfe",
    "empty": "",
    "a number": "5",
    "a string": '"{}"',
    "null": "null",
    "a list": '[{"jid":"j1"}]',
    "too deep": DEEP,
}


@pytest.mark.parametrize(
    "text", [*WITHOUT_ID.values(), *NO_JOB.values()], ids=[*WITHOUT_ID, *map("no job: {}".format, NO_JOB)]
)
def test_what_has_no_id_is_known_by_its_hash(stage: Stage, text: str) -> None:
    """Also by the Python side: reliq.job.jid_of gives the same."""
    name = stand_in(text)
    case = Case(
        "first crash",
        before={**BEFORE, PRIVATE: [text]},
        call={"started": [name, "j1"]},
        reply=["ok", 0, [text], [], []],
        after={**AFTER, "queue:mail": [text], "crashes": {name: "1:<s>"}},
        again=NOTHING_LEFT,
    )
    stage.play(case, stage.scripts.reap, USUAL)


@pytest.mark.parametrize("text", NO_JOB.values(), ids=NO_JOB)
def test_what_is_no_job_is_buried_as_it_is(stage: Stage, text: str) -> None:
    name = stand_in(text)
    case = Case(
        "third crash",
        before={**BEFORE, PRIVATE: [text], "crashes": {name: "2:<s-60>"}},
        call={"started": [name]},
        reply=["ok", 0, [], [], [text]],
        after={**AFTER, "dead": Scores({text: "<s>"})},
        again=NOTHING_LEFT,
    )
    stage.play(case, stage.scripts.reap, USUAL)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("{}", "{"),
        (" {\t}\n", " {\t"),
        ('{"jid": "x" }  \n', '{"jid": "x" ,'),
        ('{"a":1.0E+2,"a":-0.0,"n":' + "7" * 300 + "}", '{"a":1.0E+2,"a":-0.0,"n":' + "7" * 300 + ","),
        ('{"args":["\\u0000}{\\"","\udcff"]}', '{"args":["\\u0000}{\\"","\udcff"],'),
        ('{"error_class":"Old","failed_at":1}', '{"error_class":"Old","failed_at":1,'),
        ('{"args":{"b":{}}}', '{"args":{"b":{}},'),
    ],
)
def test_the_reason_is_added_as_text_and_every_byte_before_it_stays(stage: Stage, text: str, kept: str) -> None:
    name = "x" if '"x"' in text else stand_in(text)
    case = Case(
        "a limit of one",
        before={**BEFORE, PRIVATE: [text]},
        call={"started": [name], "crash_limit": 1},
        reply=["ok", 0, [], [], [kept + REASON]],
        after={**AFTER, "dead": Scores({kept + REASON: "<s>"})},
        again=NOTHING_LEFT,
    )
    stage.play(case, stage.scripts.reap, USUAL)
