"""Store: where a process's connections to one server and namespace come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reliq.config import EMBEDDED, Config, shown_url
from reliq.store.connection import Link
from reliq.store.keys import Keyspace
from reliq.store.scripts import Library, Scripts

if TYPE_CHECKING:
    from reliq.store.embedded import Lease


class Store:
    """One server and one namespace. Opens links; with an `embedded:` URL it also keeps that server in use."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.keys = Keyspace.of(config.namespace)
        self._library = Library.load()
        self._lease: Lease | None = None
        self._url: str | None = None

    @property
    def url(self) -> str:
        """The URL that links connect to; starts the embedded server when that is what the settings name."""
        if self._url is None:
            if self.config.url.startswith(EMBEDDED):
                # Imported here: it needs an optional package, which only users of the embedded server have.
                from reliq.store.embedded import acquire  # noqa: PLC0415

                self._lease = acquire(self.config.url)
                self._url = self._lease.url
            else:
                self._url = self.config.url
        return self._url

    @property
    def shown(self) -> str:
        """The configured URL without its password."""
        return shown_url(self.config.url)

    def link(self, name: str) -> Link:
        """Return a new connection, not yet made."""
        return Link(self.url, self.config, name)

    def scripts(self, link: Link, *, ahead: bool = False) -> Scripts:
        """Return the scripts, to be run over this link, or only to be sent `ahead` of their replies."""
        return Scripts(link, self._library, ahead=ahead)

    def close(self) -> None:
        """Let go of the embedded server. Links are closed by who opened them."""
        if self._lease is not None:
            self._lease.release()
            self._lease, self._url = None, None
