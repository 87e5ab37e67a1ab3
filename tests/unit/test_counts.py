"""reliq.server.counts: what a process has done, in memory that outlives it."""

import time
from functools import partial
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reliq.errors import Refused, Unreachable
from reliq.outcome import DONE, Bury, Outcome, Release
from reliq.server.counts import (
    CLASSES,
    LATE,
    OTHER,
    RUN,
    SECONDS,
    SIZE,
    TURN_ROW,
    TURNS,
    WAIT,
    Counts,
    Rows,
    Table,
    add,
    final,
)
from reliq.server.executor.run import Run
from reliq.store.claims import Claim, Ending

ME = "web:1:0123456789ab"


class Definition:
    """All that is asked of one."""

    def __init__(self, name: str) -> None:
        self.name = name


def ended(
    name: str = "work", outcome: Outcome = DONE, *, took: float = 0.02, enqueued: float = 0.0, by: str = ME
) -> tuple[Run, Ending]:
    run = Run(Claim(b"{}", 0, by), "mail", 0.0)
    run.definition = cast(Any, Definition(name))
    run.took, run.enqueued, run.begun = took, enqueued, time.monotonic()
    return run, Ending(run.claim, outcome, "jid")


@pytest.fixture
def table() -> Table:
    """Fresh memory."""
    return Table(memoryview(bytearray(SIZE)))


def never() -> int:
    raise AssertionError("nothing was under way")


def done(table: Table) -> float:
    row = table.read().get(("job", "work", "mail"))
    return 0.0 if row is None else row[0]


def released(rows: Rows) -> float:
    return rows.get(("job", "work", "mail"), [0.0] * 5)[4]


def test_nothing_counts_before_its_turn_was_applied(table: Table) -> None:
    counts = Counts(table)
    counts.ended([ended(), ended()], ME)
    assert done(table) == 0
    counts.send(1)
    assert done(table) == 0
    counts.applied(claimed=3, settled=2)
    assert done(table) == 2
    counts.send(2)
    counts.applied(claimed=0, settled=0)
    assert done(table) == 2
    assert table.read()[TURN_ROW][TURNS] == 1  # what is about a turn itself comes with the next


@pytest.mark.parametrize(("last", "counted"), [(7, 3.0), (8, 3.0), (6, 1.0)])
def test_of_one_that_was_killed_counts_what_redis_has_applied(table: Table, last: int, counted: float) -> None:
    counts = Counts(table)
    counts.ended([ended()], ME)
    counts.send(6)
    counts.applied(claimed=0, settled=1)
    counts.ended([ended(), ended()], ME)
    counts.send(7)
    assert final(table, lambda: last)["job", "work", "mail"][0] == counted


def test_nobody_is_asked_when_nothing_was_under_way(table: Table) -> None:
    counts = Counts(table)
    counts.ended([ended()], ME)
    counts.send(1)
    counts.applied(claimed=0, settled=1)
    counts.ended([ended()], ME)  # not sent
    assert final(table, never)["job", "work", "mail"][0] == 1


def test_a_turn_that_was_not_applied_is_counted_with_the_next(table: Table) -> None:
    counts = Counts(table)
    counts.ended([ended()], ME)
    counts.send(1)
    counts.resolve(applied=False)
    counts.ended([ended(outcome=Bury(b"{}", "no"))], ME)
    counts.send(3)
    assert done(table) == 0
    counts.resolve(applied=True)
    assert table.read()["job", "work", "mail"][:3] == [1, 0, 1]
    counts.resolve(applied=True)  # of nothing
    assert done(table) == 1


def test_what_ends_for_a_condemned_identity_counts_as_late_only(table: Table) -> None:
    counts = Counts(table)
    counts.ended([ended(), ended(by="web:1:ffffffffffff")], ME)
    counts.send(1)
    counts.in_vain(1)
    counts.send(1)
    counts.applied(claimed=0, settled=0)
    assert done(table) == 0
    assert table.read()[TURN_ROW][LATE] == 2


def test_refusals_count_by_their_code(table: Table) -> None:
    counts = Counts(table)
    counts.trouble(Refused("full", "OOM"))
    counts.trouble(Unreachable("gone"))
    counts.send(1)
    counts.applied(claimed=0, settled=0)
    assert {label: row[0] for label, row in table.read().items()} == {("refused", "OOM"): 1}


def test_more_labels_than_there_are_rows_fall_into_one(table: Table) -> None:
    counts = Counts(table)
    counts.ended([ended(name=f"job{number}") for number in range(100)], ME)
    counts.ended([ended(name="x" * 300)], ME)
    counts.send(1)
    counts.applied(claimed=0, settled=0)
    rows = table.read()
    assert len(rows) == 64
    assert sum(row[0] for row in rows.values()) == 101
    assert rows["job", OTHER, OTHER][0] == 38


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=40))
def test_classes_hold_what_lies_between_their_bounds(times: list[float]) -> None:
    table = Table(memoryview(bytearray(SIZE)))
    counts = Counts(table)
    counts.ended([ended(took=took) for took in times], ME)
    counts.send(1)
    counts.resolve(applied=True)
    row = table.read()["job", "work", "mail"]
    assert row[RUN] == pytest.approx(sum(times))
    lower = -1.0
    for bound, count in zip((*SECONDS, float("inf")), row[RUN + 1 :], strict=False):
        assert count == sum(lower < took <= bound for took in times)
        lower = bound


def test_a_wait_is_from_enqueue_to_the_begin(table: Table) -> None:
    """One that nobody knows is left out; one that a clock puts into the future is none."""
    counts = Counts(table)
    counts.ended([ended(enqueued=time.time() - 6.0), ended(enqueued=time.time() + 60.0), ended(enqueued=0.0)], ME)
    counts.send(1)
    counts.resolve(applied=True)
    row = table.read()["job", "work", "mail"]
    assert row[WAIT] == pytest.approx(6.0, abs=1.0)
    classes = row[WAIT + 1 : WAIT + 1 + CLASSES]
    assert (sum(classes), classes[0], classes[SECONDS.index(10.0)]) == (2.0, 1.0, 1.0)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=20))
def test_whatever_happens_what_is_applied_counts_once(steps: list[tuple[int, bool]]) -> None:
    table = Table(memoryview(bytearray(SIZE)))
    counts, waiting, settled = Counts(table), 0, 0
    for number, (more, applied) in enumerate(steps, 1):
        counts.ended([ended(outcome=Release()) for _ in range(more)], ME)
        waiting += more
        counts.send(number)
        assert released(final(table, partial(int, number))) == settled + waiting
        assert released(final(table, int)) == settled
        counts.resolve(applied=applied)
        if applied:
            settled, waiting = settled + waiting, 0
    total: Rows = {}
    add(total, table.read())
    assert released(total) == settled
