"""What was measured: samples, and the file they are kept in."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any

import attrs
import cattrs

from bench.peers.peer import RowName


@attrs.frozen(kw_only=True)
class Setting:
    """What must be the same for numbers to stand in one table."""

    machine: str
    server: str
    durability: str
    pinned: bool

    def __str__(self) -> str:
        where = "server and worker on one processor, producer on another" if self.pinned else "not pinned"
        return f"{self.machine}; {self.server}, durability {self.durability}; {where}"


@attrs.frozen(kw_only=True)
class Sample:
    """One row of one peer in one round: its numbers, or why there are none. `at` is epoch seconds."""

    row: RowName
    peer: str
    round: int
    values: dict[str, float] = attrs.Factory(dict)
    failure: str | None = None
    load: float = 0.0
    """The machine's load average over the minute before."""
    at: float = attrs.field(factory=time.time)


@attrs.frozen(kw_only=True)
class About:
    """What a peer is: name and version, its settings in words, and all that was installed for it."""

    title: str
    mode: str
    reliable: str | None
    packages: tuple[str, ...] = ()


@attrs.define(kw_only=True)
class Results:
    """All samples of one setting. `left_out` says which peers are not there, and why."""

    setting: Setting
    peers: dict[str, About] = attrs.Factory(dict)
    samples: list[Sample] = attrs.Factory(list)
    left_out: list[str] = attrs.Factory(list)

    def replace(self, newer: Results) -> None:
        """Take in what was measured again: its rows stand instead of those of the same peer."""
        again = {(sample.row, sample.peer) for sample in newer.samples}
        kept = [sample for sample in self.samples if (sample.row, sample.peer) not in again]
        self.samples = kept + newer.samples
        self.peers.update(newer.peers)
        self.left_out = newer.left_out

    def of(self, row: RowName, peer: str) -> list[Sample]:
        """Return the samples of one row of one peer."""
        return [sample for sample in self.samples if sample.row == row and sample.peer == peer]

    def median(self, row: RowName, peer: str, measure: str) -> float | None:
        """Return the median of a number over the rounds; None if there is none."""
        values = [sample.values[measure] for sample in self.of(row, peer) if measure in sample.values]
        return statistics.median(values) if values else None

    def spread(self, row: RowName, peer: str, measure: str) -> tuple[float, float] | None:
        """Return the least and the largest of a number over the rounds; None if there is none."""
        values = [sample.values[measure] for sample in self.of(row, peer) if measure in sample.values]
        return (min(values), max(values)) if values else None

    def failure(self, row: RowName, peer: str) -> str | None:
        """Return why a row of a peer has no numbers in some round; None if it has."""
        return next((sample.failure for sample in self.of(row, peer) if sample.failure is not None), None)

    def save(self, path: Path) -> None:
        """Write everything to a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(cattrs.unstructure(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read what `save` wrote."""
        data: Any = json.loads(path.read_text(encoding="utf-8"))
        return cattrs.structure(data, cls)
