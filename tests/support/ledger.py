"""The ledger: what jobs really did, written by themselves to a file outside of Redis, and read by tests.

One line of JSON an event, appended by one `write`: it is there even if the process is killed at the next instruction.
Times are of the monotonic clock, which all processes of a machine share.
"""

import itertools
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import attrs
import orjson

VARIABLE = "TEST_LEDGER"
"""Names the file, in the environment of a worker."""


@attrs.frozen(kw_only=True)
class Event:
    """One thing that one run of one job did. `what` is start, finish, interrupted, or a word of the job's own.

    `key` is what the test passed to tell jobs apart. `crashes` and `fence` are None unless the job asked for them.
    """

    what: str
    at: float
    name: str
    jid: str
    key: Any
    queue: str
    attempt: int
    pid: int
    identity: str
    crashes: int | None = None
    fence: int | None = None
    note: Any = None


def append(event: Event) -> None:
    """Write one event to the file of this process's environment."""
    line = orjson.dumps(attrs.asdict(event), option=orjson.OPT_APPEND_NEWLINE)
    fd = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, line)
    finally:
        os.close(fd)


class Ledger:
    """A reader. Remembers how far it has read, so that asking often is cheap."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._events: list[Event] = []

    def events(
        self, what: str | None = None, *, jid: str | None = None, key: Any = None, name: str | None = None
    ) -> list[Event]:
        """All events so far that match, oldest first."""
        self._read()
        return [
            event
            for event in self._events
            if (what is None or event.what == what)
            and (jid is None or event.jid == jid)
            and (key is None or event.key == key)
            and (name is None or event.name == name)
        ]

    def started(self, jid: str) -> list[Event]:
        """The starts of one job."""
        return self.events("start", jid=jid)

    def finished(self, jid: str) -> list[Event]:
        """The finishes of one job."""
        return self.events("finish", jid=jid)

    def done(self, jids: Iterable[str]) -> bool:
        """Whether each of these jobs has finished at least once."""
        finished = {event.jid for event in self.events("finish")}
        return all(jid in finished for jid in jids)

    def running(self) -> list[Event]:
        """Starts that no later event of the same run has ended (a killed run never ends)."""
        open_runs: dict[tuple[str, int], Event] = {}
        for event in self.events():
            if event.what == "start":
                open_runs[event.jid, event.pid] = event
            elif event.what in ("finish", "interrupted", "raised"):
                open_runs.pop((event.jid, event.pid), None)
        return list(open_runs.values())

    def repeated(self) -> dict[str, list[Event]]:
        """The starts of every job that started more than once."""
        counts = Counter(event.jid for event in self.events("start"))
        return {jid: self.started(jid) for jid, count in counts.items() if count > 1}

    def unexplained(self, dead: Callable[[Event], bool]) -> list[str]:
        """Every run that another one followed without a cause, one line each.

        A run may be followed by another if it was interrupted, has failed, or if `dead` says that its process ended
        while it ran.
        """
        wrong = []
        for jid, starts in self.repeated().items():
            ends = {(event.pid, event.what) for event in self.events(jid=jid)}
            for run, following in itertools.pairwise(starts):
                if (run.pid, "interrupted") in ends or (run.pid, "raised") in ends:
                    continue
                if not dead(run):
                    wrong.append(f"{run.name} {jid} of process {run.pid} ran again in {following.pid}")
        return wrong

    def _read(self) -> None:
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        self._events += [Event(**orjson.loads(line)) for line in whole.splitlines()]


def now() -> float:
    """The clock of the events."""
    return time.monotonic()
