"""Board: the page of shared memory between a supervisor and one worker process.

The supervisor writes when it last beat for the process; the process writes how much it holds, and which jobs it
has started. When the process has died, the supervisor still reads the last from here,
exact to the instant of the death, and charges a crash to these jobs only.

Single values are eight aligned bytes, written at once. Each has one writer at a time.
"""

from __future__ import annotations

from ctypes import Array, c_char
from multiprocessing.context import BaseContext
from struct import Struct
from typing import Any

from reliq.server.counts import SIZE, Table
from reliq.server.pace import MOST

_STANDING, _FENCED, _BUSY, _HELD, _PROOF, _EXCUSED = 0, 2, 3, 4, 5, 6
_NUMBERS = 8
_RECORD = 128
_LONGEST = _RECORD - 1
_TEXT = Struct(f"{_RECORD}p")
"""A text behind a byte that says how long it is. That byte is written last: a record counts from then on."""

_SPARE = 64 + 2 * MOST
"""Records beyond two per slot: jobs that ended but are not settled yet, of two turns."""


def allocate(context: BaseContext, concurrency: int) -> Any:
    """Return zeroed shared memory for a process of this concurrency; it is passed to the process as it is."""
    return context.RawArray(c_char, _NUMBERS * 8 + SIZE + (2 * concurrency + _SPARE) * _RECORD)


class Board:
    """A view of the shared memory. `epoch` numbers a process's identities from 0."""

    def __init__(self, memory: Array[c_char]) -> None:
        raw = memoryview(memory).cast("B")
        self._numbers = raw[: _NUMBERS * 8].cast("d")
        self.table = Table(raw[_NUMBERS * 8 : _NUMBERS * 8 + SIZE])
        """What the process has done, by counts."""
        self._records = raw[_NUMBERS * 8 + SIZE :]
        self._free = list(range(len(self._records) // _RECORD))

    # -- written by whoever beats for the process

    def stand(self, epoch: int, sent: float) -> None:
        """Note that a beat that was sent at `sent` (boot clock) was confirmed for this identity."""
        self._numbers[_STANDING + epoch % 2] = sent

    def fence(self, epoch: int) -> None:
        """Note that this identity has been condemned."""
        self._numbers[_FENCED] = epoch + 1

    # -- written by the process

    def renew(self, epoch: int) -> None:
        """Start a new identity: nothing is confirmed for it yet."""
        self._numbers[_STANDING + epoch % 2] = 0.0

    def count(self, busy: int, held: int) -> None:
        """Note the number of jobs that run, and of all that are held."""
        self._numbers[_BUSY] = busy
        self._numbers[_HELD] = held

    def attend(self, now: float, *, proved: bool, excused: bool) -> None:
        """Note at this time (monotonic clock) whether a turn has just happened, and whether none need happen now.

        While none need, and until it has been noted that one must again, being here is proof enough.
        """
        if proved or excused or self.excused:
            self._numbers[_PROOF] = now
        self._numbers[_EXCUSED] = excused  # after the proof: nobody must see an old one without the excuse

    def start(self, jid: str) -> int | None:
        """Note that a job starts; returns its record, None if the id is too long or no record is free."""
        text = jid.encode()
        if len(text) > _LONGEST or not self._free:
            return None
        record = self._free.pop()
        _TEXT.pack_into(self._records, record * _RECORD, text)
        return record

    def clear(self, record: int | None) -> None:
        """Note that a job has been settled."""
        if record is not None:
            self._records[record * _RECORD] = 0
            self._free.append(record)

    # -- read

    def standing(self, epoch: int) -> float:
        """When the last confirmed beat of this identity was sent (boot clock); 0 if there was none."""
        return self._numbers[_STANDING + epoch % 2]

    def fenced(self, epoch: int) -> bool:
        """True once this identity was found condemned."""
        return self._numbers[_FENCED] == epoch + 1

    @property
    def busy(self) -> int:
        """Jobs that run."""
        return int(self._numbers[_BUSY])

    @property
    def held(self) -> int:
        """Jobs that are claimed and not settled."""
        return int(self._numbers[_HELD])

    @property
    def proof(self) -> float:
        """When (monotonic clock) a turn happened last, or none needed to; 0 before the first."""
        return self._numbers[_PROOF]

    @property
    def excused(self) -> bool:
        """True while the process need not make turns: it has no free slot, or was told to claim no more."""
        return bool(self._numbers[_EXCUSED])

    def started(self) -> list[str]:
        """Return the ids of the jobs that were started and not settled."""
        found = []
        for at in range(0, len(self._records), _RECORD):
            (text,) = _TEXT.unpack_from(self._records, at)
            if text:
                found.append(text.decode())
        return found
