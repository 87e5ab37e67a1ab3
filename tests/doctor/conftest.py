"""The doctor, sent to the shared server or to one with something wrong with it."""

from collections.abc import Sequence
from typing import Any, Protocol

import pytest

from chaos.servers import Server
from reliq import __version__
from reliq.clock import Clock, SystemClock
from reliq.config import Config
from reliq.doctor import CHECKS, Finding, Shutdown, Subject, examine
from reliq.store.opening import Store
from reliq.store.processes import Entry, Processes
from tests.store.conftest import QUICK

ID = "web:7:0123456789ab"
OTHER = "web:8:ba9876543210"


class Doctor(Protocol):
    """Makes checks; returns what they found by its name. Further settings are those of Config."""

    def __call__(
        self,
        *checks: str,
        url: str | None = None,
        clock: Clock | None = None,
        roles: Sequence[str] = ("worker",),
        shutdowns: Sequence[Shutdown] = (),
        **settings: Any,
    ) -> dict[str, Finding]: ...


@pytest.fixture
def doctor(server: Server) -> Doctor:
    """At the shared server unless a URL is given, with QUICK settings."""

    def send(
        *checks: str,
        url: str | None = None,
        clock: Clock | None = None,
        roles: Sequence[str] = ("worker",),
        shutdowns: Sequence[Shutdown] = (),
        **settings: Any,
    ) -> dict[str, Finding]:
        store = Store(Config(url=url or server.url, **(QUICK | settings)))
        subject = Subject(store, clock or SystemClock(), roles=roles, shutdowns=shutdowns, pings=5)
        try:
            found = examine(subject, checks or CHECKS)
        finally:
            subject.close()
            store.close()
        for one in found:
            assert "{" not in one.what.replace("{shop}", ""), one
            assert (one.name == "ok") == (not one.why) == (not one.do), one
        return {one.name: one for one in found}

    return send


class Enter(Protocol):
    """Enters a process into the fleet, as if it had just beaten; fields are those of Entry; returns its identity."""

    def __call__(self, identity: str = ..., *, url: str | None = None, ttl: float = 1.0, **fields: Any) -> str: ...


@pytest.fixture
def enter(server: Server) -> Enter:
    """At the shared server unless a URL is given."""

    def register(identity: str = ID, *, url: str | None = None, ttl: float = 1.0, **fields: Any) -> str:
        store = Store(Config(url=url or server.url, **(QUICK | {"ttl": ttl})))
        link = store.link("test")
        known: dict[str, Any] = {"host": "web", "pid": 7, "queues": ("mail",), "started": 7.5, "version": __version__}
        Processes(store, link).register(Entry(identity=identity, **(known | fields)))
        link.close()
        store.close()
        return identity

    return register
