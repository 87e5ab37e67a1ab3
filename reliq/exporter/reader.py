"""Reader: one survey for all who ask within a second."""

from __future__ import annotations

import threading

from reliq.clock import Clock
from reliq.errors import ReliqError
from reliq.survey import Survey, Surveyor

FRESH = 1.0
"""Seconds that a survey, or the failure of one, serves everybody: Redis is asked once however many scrape."""


class Reader:
    """Surveys when it is asked, one at a time. Safe for threads."""

    def __init__(self, surveyor: Surveyor, clock: Clock) -> None:
        self._surveyor = surveyor
        self._clock = clock
        self._lock = threading.Lock()
        self._at = float("-inf")
        self._last: Survey | ReliqError | None = None
        self.took = 0.0
        """Seconds of the last survey."""

    def read(self) -> Survey:
        """Return a survey that is at most FRESH seconds old. Raises StoreError, or ConfigError for an unusable URL."""
        with self._lock:
            if self._last is None or self._clock.mono() - self._at >= FRESH:
                self._last = self._survey()
                self._at = self._clock.mono()
            last = self._last
        if isinstance(last, ReliqError):
            raise last.with_traceback(None)  # it is raised for everybody who asks
        return last

    def _survey(self) -> Survey | ReliqError:
        began = self._clock.mono()
        try:
            return self._surveyor.survey()
        except ReliqError as error:
            return error
        finally:
            self.took = self._clock.mono() - began

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._surveyor.close()
