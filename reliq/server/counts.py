"""Counts: what a worker process has done, in memory that its supervisor reads, also after its death.

Counted is what Redis counted. The counts of a turn are written before it is sent, into the second of two copies, with
the turn's number; when its answer is there the copies change places, by one write. If the process is killed in between,
its supervisor asks Redis whether that turn was applied, and takes the copy that is right.

The memory is a table: rows with a label, and so many numbers each. Rows are only added; beyond the last one
everything falls into the first, `other`.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from struct import Struct

from reliq.errors import Refused, StoreError
from reliq.outcome import Bury, Done, Drop, Release, Retry
from reliq.server.executor.run import Run
from reliq.store.claims import Ending

SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0, 600.0)
"""Upper bounds of the classes of run times and waits; one more class is without."""

ROUND_TRIPS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""The same of turns."""

OUTCOMES: Mapping[type, str] = {Done: "done", Retry: "retried", Bury: "buried", Drop: "dropped", Release: "released"}
"""How a run may end, and what that is called."""

CLASSES = len(SECONDS) + 1
RUN, WAIT = 5, 5 + 1 + CLASSES
"""In the row of a job: first the outcomes, from RUN on the sum and the classes of run times, from WAIT on of waits."""

TURNS, CLAIMED, SETTLED, LATE, TRIP = range(5)
"""In the row of turns: how many, jobs that they claimed, that they settled, that were settled too late, round trips."""

OTHER = "other"
TURN_ROW = ("turn",)

_ROWS = 64
_FIELDS = WAIT + 1 + CLASSES
_LABEL_SIZE = 256
_LABEL = Struct(f"{_LABEL_SIZE}p")
_ACTIVE, _PENDING, _USED, _VERSION = range(4)
_NUMBERS = 8

Label = tuple[str, ...]
Rows = dict[Label, list[float]]
"""The numbers by label: (`job`, name, queue), (`turn`,) or (`refused`, code)."""


SIZE = 8 * _NUMBERS + _ROWS * _LABEL_SIZE + 2 * 8 * _ROWS * _FIELDS
"""Bytes of a table."""


class Table:
    """A view of the memory: zeroed bytes, SIZE of them."""

    def __init__(self, raw: memoryview) -> None:
        labels_end = 8 * _NUMBERS + _ROWS * _LABEL_SIZE
        size = 8 * _ROWS * _FIELDS
        self.numbers = raw[: 8 * _NUMBERS].cast("d")
        self.labels = raw[8 * _NUMBERS : labels_end]
        self.copies = [raw[labels_end + at : labels_end + at + size].cast("d") for at in (0, size)]

    @property
    def pending(self) -> int:
        """The number of the turn whose counts are in the second copy; 0 if there is none."""
        return int(self.numbers[_PENDING])

    def read(self, *, ahead: bool = False) -> Rows:
        """Return the counts; `ahead` with those of the turn that was sent last, which must be known to be applied."""
        while True:
            before = list(self.numbers[:_NUMBERS])
            active, used = int(before[_ACTIVE]), int(before[_USED])
            copy: list[float] = list(self.copies[1 - active if ahead else active][: used * _FIELDS])
            if list(self.numbers[:_NUMBERS]) == before:  # else it may have been written to meanwhile
                break
        return {
            self._label(row): values for row in range(used) if any(values := copy[row * _FIELDS : (row + 1) * _FIELDS])
        }

    def _label(self, row: int) -> Label:
        (text,) = _LABEL.unpack_from(self.labels, row * _LABEL_SIZE)
        return tuple(text.decode().split("\0"))


class Counts:
    """The writer's side, used by the loop's thread only."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._rows: dict[Label, int] = {}
        self._row(("job", OTHER, OTHER))
        self._jobs: Rows = {}  # of endings that are not settled yet
        self._rest: Rows = {}
        self._sent: tuple[Rows, Rows] | None = None
        self._sent_at = 0.0

    def ended(self, runs: Iterable[tuple[Run, Ending]], identity: str) -> None:
        """Count runs that are to be settled by this identity; those of another were in vain."""
        groups: dict[tuple[str, str, type], list[Run]] = defaultdict(list)
        late = 0
        for run, ending in runs:
            if ending.claim.identity != identity:
                late += 1
                continue
            name = run.definition.name if run.definition is not None else OTHER
            groups[name, run.queue, type(ending.outcome)].append(run)
        wall = time.time() - time.monotonic()
        for (name, queue, outcome), some in groups.items():
            row = _of(self._jobs, ("job", name, queue))
            row[list(OUTCOMES).index(outcome)] += len(some)
            _classify(row, RUN, SECONDS, [run.took for run in some])
            _classify(row, WAIT, SECONDS, [run.begun + wall - run.enqueued for run in some if run.enqueued])
        if late:
            _of(self._rest, TURN_ROW)[LATE] += late

    def trouble(self, error: StoreError) -> None:
        """Count a command that the server refused; other errors are none of those."""
        if isinstance(error, Refused):
            _of(self._rest, ("refused", error.code))[0] += 1

    def send(self, number: int) -> None:
        """Write down what is counted if the turn of this number is applied. Call before it is sent."""
        table, active = self._table, int(self._table.numbers[_ACTIVE])
        table.numbers[_PENDING] = 0
        table.numbers[_VERSION] += 1
        copy = table.copies[1 - active]
        copy[:] = table.copies[active]
        for rows in (self._jobs, self._rest):
            for label, values in rows.items():
                at = self._row(label) * _FIELDS
                for field, value in enumerate(values):
                    if value:
                        copy[at + field] += value
        self._sent = (self._jobs, self._rest)
        self._jobs, self._rest = {}, {}
        table.numbers[_PENDING] = number
        self._sent_at = time.monotonic()

    def applied(self, *, claimed: int, settled: int) -> None:
        """The turn was applied: what was sent counts. The rest is about the turn itself, and counts with the next."""
        seconds = time.monotonic() - self._sent_at
        self.resolve(applied=True)
        row = _of(self._rest, TURN_ROW)
        row[TURNS] += 1
        row[CLAIMED] += claimed
        row[SETTLED] += settled
        _classify(row, TRIP, ROUND_TRIPS, [seconds])

    def resolve(self, *, applied: bool) -> None:
        """It is known what became of the turn that was sent last; no matter if there is none."""
        if self._sent is None:
            return
        numbers = self._table.numbers
        if applied:
            numbers[_ACTIVE] = 1 - numbers[_ACTIVE]
        else:
            for mine, sent in zip((self._jobs, self._rest), self._sent, strict=True):
                add(mine, sent)
        numbers[_PENDING] = 0
        self._sent = None

    def in_vain(self, endings: int) -> None:
        """The identity was condemned: nothing of what has ended is settled."""
        self.resolve(applied=False)
        self._jobs = {}
        _of(self._rest, TURN_ROW)[LATE] += endings

    def _row(self, label: Label) -> int:
        row = self._rows.get(label)
        if row is None:
            text = "\0".join(label).encode()
            if len(self._rows) == _ROWS or len(text) > _LABEL_SIZE - 1:
                return 0
            row = self._rows[label] = len(self._rows)
            _LABEL.pack_into(self._table.labels, row * _LABEL_SIZE, text)
            self._table.numbers[_USED] = row + 1
        return row


def add(total: Rows, more: Rows) -> None:
    """Add the counts of one to those of another."""
    for label, values in more.items():
        row = _of(total, label)
        for field, value in enumerate(values):
            row[field] += value


def final(table: Table, last_turn: Callable[[], int]) -> Rows:
    """Return the counts of a process that has ended; `last_turn` asks for the number of its last turn."""
    pending = table.pending
    return table.read(ahead=bool(pending) and last_turn() >= pending)


def _of(rows: Rows, label: Label) -> list[float]:
    row = rows.get(label)
    if row is None:
        row = rows[label] = [0.0] * _FIELDS
    return row


def _classify(row: list[float], at: int, bounds: Sequence[float], values: list[float]) -> None:
    """Add values to a sum and to the counts of their classes, which follow it; one below zero is a clock's fault."""
    values = [max(0.0, value) for value in values]
    row[at] += sum(values)
    values.sort()
    below = 0
    for place, bound in enumerate(bounds, at + 1):
        upto = bisect_right(values, bound)
        row[place] += upto - below
        below = upto
    row[at + 1 + len(bounds)] += len(values) - below
