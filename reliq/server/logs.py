"""Where log lines go: standard error, one line an event, with the process's id."""

from __future__ import annotations

import logging
import sys

FORMAT = "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"


def set_up(level: str) -> None:
    """Send reliq's and the application's logs to standard error, unless the application has set up its own."""
    root = logging.getLogger()
    if not root.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter(FORMAT))
        root.addHandler(handler)
        root.setLevel(level)
    logging.getLogger("reliq").setLevel(level)
