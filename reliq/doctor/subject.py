"""Subject: what is examined, and the answers that several checks share."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import attrs

from reliq.clock import Clock
from reliq.config import Config
from reliq.doctor.finding import Unknown
from reliq.errors import Refused
from reliq.inspect import Inspector
from reliq.store.connection import Link, info
from reliq.store.keys import Keyspace
from reliq.store.opening import Store
from reliq.store.processes import Entry, Processes

PINGS = 100


@attrs.frozen(kw_only=True)
class Shutdown:
    """How a pod is stopped. Times are seconds.

    `grace_period` is all the time there is: `terminationGracePeriodSeconds`, or systemd's `TimeoutStopSec`.
    `prestop_wait` is how long the preStop hook may take; 0 without one. `timeout` and `grace` are the worker's.
    `by_shell` says that a shell stands between the pod and the worker.
    """

    name: str
    grace_period: float
    timeout: float
    grace: float
    prestop_wait: float = 0.0
    by_shell: bool = False


class Subject:
    """One server and namespace, the fleet on it, and how its pods are stopped. Close it when done.

    Facts are asked for when a check needs them: all of it may raise Refused, and Unknown where an answer lacks what
    was asked for. `roles` are those that the URL's user must be allowed to play, as in `needs.ROLES`.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        shutdowns: Sequence[Shutdown] = (),
        roles: Sequence[str] = ("worker",),
        pings: int = PINGS,
    ) -> None:
        self.store = store
        self.clock = clock
        self.shutdowns = tuple(shutdowns)
        self.roles = tuple(roles)
        self.pings = pings
        self._sections: dict[str, dict[str, str]] = {}
        self.link: Link = store.link("doctor")
        self.processes = Processes(store, self.link)
        self.inspector = Inspector(store)

    @property
    def config(self) -> Config:
        """The settings, by which the fleet should run as well."""
        return self.store.config

    @property
    def keys(self) -> Keyspace:
        """The names of all keys."""
        return self.store.keys

    def greet(self) -> None:
        """Make sure that somebody answers and lets us in. Raises StoreError."""
        try:
            self.link.call("PING")
        except Refused as refusal:
            if refusal.code != "NOPERM":
                raise

    def call(self, *command: Any) -> Any:
        """Send one command and return its reply. Raises StoreError."""
        return self.link.call(*command)

    def server_time(self) -> float:
        """Return the server's own time, in epoch seconds."""
        seconds, microseconds = self.call("TIME")
        return int(seconds) + int(microseconds) / 1e6

    def info(self, section: str) -> dict[str, str]:
        """Return a section of INFO, its fields by name."""
        if section not in self._sections:
            self._sections[section] = info(self.link, section)
        return self._sections[section]

    def said(self, section: str, field: str) -> str:
        """Return one field of INFO. Raises Unknown where there is none."""
        fields = self.info(section)
        if field not in fields:
            raise Unknown(f"INFO {section} has no {field}")
        return fields[field]

    def setting(self, name: str) -> str:
        """Return a setting of the server. Raises Unknown where there is none."""
        reply = self.call("CONFIG", "GET", name)
        if len(reply) != 2:
            raise Unknown(f"CONFIG GET knows no {name}")
        return str(reply[1].decode())

    def number(self, name: str) -> int:
        """Return a setting of the server that is a whole number."""
        return int(self.setting(name))

    @functools.cached_property
    def fleet(self) -> list[tuple[Entry, bool]]:
        """Return all entries of the fleet, each with whether it is alive."""
        return self.processes.entries()

    @property
    def living(self) -> list[Entry]:
        """Return the entries of the living."""
        return [entry for entry, alive in self.fleet if alive]

    @functools.cached_property
    def late(self) -> dict[str, float]:
        """Return identity to seconds since its last beat, of all that have missed two."""
        return dict(self.processes.overdue(2 * self.config.beat))

    def close(self) -> None:
        """Close the connections."""
        self.inspector.close()
        self.link.close()
