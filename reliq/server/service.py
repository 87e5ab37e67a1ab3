"""Service: a duty in a thread of its own that is told to tick, over and over."""

from __future__ import annotations

import logging
import threading
import time

from reliq.backoff import reconnect_delay
from reliq.errors import Refused, StoreError

OUTAGE = "outage"
"""Trouble that everybody has for a while, and that mends itself."""

_log = logging.getLogger("reliq.supervisor")


class Service:
    """A duty: subclasses say what a `tick` does and how long to wait after it.

    Starting twice, stopping what was never started, and stopping twice are all fine. A tick that raises
    StoreError is followed by a growing pause of at most `longest_backoff` seconds, and each kind is reported once;
    any other error is logged and the duty goes on: no recovery ends because of one bad entry.
    """

    name = "service"

    quiet_in_outages = False
    """Whether another one in this process says already that Redis does not answer."""

    def __init__(self, longest_backoff: float) -> None:
        self._longest = longest_backoff
        self._halt = threading.Event()
        self._thread: threading.Thread | None = None
        self._failures = 0
        self._trouble = ""  # the kind that was reported last
        self.done_at = time.monotonic()
        """When (monotonic clock) the duty was done last; before the first time, when it was made."""

    def tick(self) -> float:
        """Do the duty once; return the seconds until the next time."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of connections, after the last tick."""

    def start(self) -> None:
        """Start ticking."""
        if self._thread is None:
            self._halt.clear()
            self._thread = threading.Thread(target=self._loop, name=f"reliq-{self.name}", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ask for the end; returns at once."""
        self._halt.set()

    def join(self, within: float = 5.0) -> bool:
        """Wait for the end; False if it did not come within so many seconds."""
        thread = self._thread
        if thread is not None:
            thread.join(within)
            if thread.is_alive():
                return False
            self._thread = None
        return True

    def end(self) -> None:
        """Ask for the end, and wait for it a while."""
        self.stop()
        self.join()

    def _loop(self) -> None:
        while not self._halt.is_set():
            self._halt.wait(self._guarded())
        self.close()

    def _guarded(self) -> float:
        try:
            pause = self.tick()
        except StoreError as error:
            self._failures += 1
            trouble = error.code if isinstance(error, Refused) and not error.passes else OUTAGE
            if trouble != self._trouble:
                self._trouble = trouble
                level = logging.DEBUG if trouble == OUTAGE and self.quiet_in_outages else logging.WARNING
                _log.log(level, "%s: %s", self.name, error)
            return reconnect_delay(self._failures, self._longest)
        except Exception:  # noqa: BLE001 - logged, and the duty goes on
            _log.exception("%s: unexpected error, going on", self.name)
            return 1.0
        self.done_at = time.monotonic()
        if self._failures:
            _log.log(logging.DEBUG if self.quiet_in_outages else logging.INFO, "%s: Redis answers again", self.name)
            self._failures, self._trouble = 0, ""
        return pause
