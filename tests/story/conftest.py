"""What the stories share: a shop on the test's server, its workers, and a notebook."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from chaos.eventually import eventually
from chaos.servers import Server
from tests.story.shop import app, branch, read
from tests.support.fleet import Fleet
from tests.support.pod import Pod

APP = "tests.story.shop:app"


class Shop:
    """Starts workers of the shop, runs `reliq` commands, and waits for what they do."""

    def __init__(self, fleet: Fleet, book: Path) -> None:
        self.fleet = fleet
        self.book = str(book)
        self.door = str(book.with_name("door"))

    def open_door(self) -> None:
        """Let all parcels be finished, those that are packed now and later."""
        Path(self.door).touch()

    def worker(self, *queues: str, options: Sequence[str] = (), **more: Any) -> Pod:
        """Start `reliq worker` and wait until it is up."""
        return self.fleet.start(**{"app": APP, "queues": queues or ("default",), "options": options, **more})

    def lines(self) -> list[str]:
        """What the jobs have written so far."""
        return read(Path(self.book))

    def wait_for(self, *lines: str, within: float = 15.0) -> None:
        """Wait until each of these lines is in the book, or is the beginning of one."""

        def written() -> bool:
            found = self.lines()
            missing = [line for line in lines if not any(one.startswith(line) for one in found)]
            assert not missing, f"{missing} not in {found}"
            return True

        eventually(written, within, "the notebook")

    def reliq(self, *words: str) -> Any:
        """Run a `reliq` command; what it printed, read as JSON if it asked for that."""
        which = (
            ["--pidfile", str(self.fleet.pods[-1].pidfile)]
            if words[0] in ("quiet", "stop")
            else ["--url", self.fleet.url]
        )
        done = self.fleet.command(words[0], *which, *words[1:])
        assert done.code == 0, done.error
        return json.loads(done.output) if "--json" in words else done.output

    def status(self) -> dict[str, Any]:
        """`reliq status --json`."""
        status: dict[str, Any] = self.reliq("status", "--json")
        return status

    def waiting(self) -> dict[str, int]:
        """Queue by queue, how many jobs wait."""
        return waiting(self.status())

    def settled(self, **counts: int) -> dict[str, Any]:
        """Wait until `reliq status` counts so."""

        def counted() -> dict[str, Any] | None:
            status = self.status()
            return status if all(status[name] == count for name, count in counts.items()) else None

        found = eventually(counted, 15.0, f"status shows {counts}")
        assert found
        return found


def waiting(status: dict[str, Any]) -> dict[str, int]:
    """Queue by queue, how many jobs wait."""
    return {queue["name"]: queue["size"] for queue in status["queues"]}


@pytest.fixture
def shop(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """The shop, on this test's server; its logs are shown when the test fails."""
    monkeypatch.setenv("RELIQ_URL", server.url)
    with Fleet(server.url) as fleet:
        yield Shop(fleet, tmp_path / "book")
        sys.stdout.write(fleet.logs())
        problems = fleet.problems()
    app.close()
    branch.close()
    assert not problems, "\n".join(problems)


@pytest.fixture
def due_now(server: Server) -> Iterator[Callable[[str], None]]:
    """Moves the clock for what waits in `retry` or `schedule`: a test cannot wait for a retry's delay."""
    with server.client() as client:

        def make_due(key: str) -> None:
            for member in client.zrange(key, 0, -1):
                client.zadd(key, {member: 1.0})

        yield make_due
