"""What the tests of running workers share."""

import sys
from collections.abc import Iterator, Mapping
from typing import Protocol

import pytest

from chaos.servers import Server
from tests.support.fleet import Fleet


class FleetOn(Protocol):
    """Makes fleets; the arguments are those of Fleet."""

    def __call__(self, url: str, *, namespace: str = "", settings: Mapping[str, float] | None = None) -> Fleet: ...


@pytest.fixture
def fleet_on() -> Iterator[FleetOn]:
    """Fleets without pods, each on the server of the URL it is made with; logs are shown when the test fails."""
    made: list[Fleet] = []

    def make(url: str, *, namespace: str = "", settings: Mapping[str, float] | None = None) -> Fleet:
        made.append(Fleet(url, namespace=namespace, settings=settings))
        return made[-1]

    yield make
    problems = []
    for fleet in made:
        sys.stdout.write(fleet.logs())
        problems += fleet.problems()
        fleet.close()
    assert not problems, "\n".join(problems)


@pytest.fixture
def fleet(server: Server, fleet_on: FleetOn) -> Fleet:
    """A fleet on the shared server."""
    return fleet_on(server.url)
