"""Where log lines go: standard error, one line an event; as text for people, or as JSON for machines.

A line that a job writes says which job that is. That is looked up when a line is written, so a job that writes none
pays nothing.
"""

from __future__ import annotations

import datetime
import json
import logging
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

from reliq.attempt import running
from reliq.outcome import where

FORMAT = "%(asctime)s %(process)d %(levelname)s %(name)s%(of_job)s: %(message)s"

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class Origin(logging.Filter):
    """Notes in every record where it comes from: the worker process, and the job that wrote it.

    `identity` is asked for the process's identity; it says '' where there is none, as in a supervisor.
    """

    def __init__(self) -> None:
        super().__init__()
        self.identity: Callable[[], str] = str

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        attempt = running()
        if attempt is not None:
            record.reliq_origin = {
                "identity": attempt.identity,
                "jid": attempt.jid,
                "job": attempt.name,
                "queue": attempt.queue,
                "attempt": attempt.attempt,
            }
        elif identity := self.identity():
            record.reliq_origin = {"identity": identity}
        return True


def _origin(record: logging.LogRecord) -> dict[str, Any]:
    return getattr(record, "reliq_origin", {})


class _Formatter(logging.Formatter):
    def formatException(self, ei: ExcInfo) -> str:  # noqa: N802 - logging's name
        """Return the traceback, also of an error that does not let itself be written."""
        return where(ei[1]) if ei[1] is not None else ""


class Console(_Formatter):
    """Lines for people. What a job writes has its id before the text."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the line without tracebacks."""
        jid = _origin(record).get("jid")
        record.of_job = f" {jid}" if jid else ""
        return super().formatMessage(record)


class Json(_Formatter):
    """One JSON object a line: `ts`, `level`, `logger`, `msg`, `pid`, where it comes from, and what `extra` gave."""

    def __init__(self) -> None:
        super().__init__()
        self._usual = {*vars(logging.makeLogRecord({})), "message", "asctime", "of_job", "reliq_origin"}

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        at = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        fields: dict[str, Any] = {
            "ts": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "msg": record.getMessage(),
            "pid": record.process,
            **_origin(record),
        }
        for name, value in vars(record).items():
            if name not in self._usual:
                fields.setdefault(name, value)
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            fields["stack"] = record.stack_info
        try:
            return json.dumps(fields, default=str, allow_nan=False)
        except Exception:  # noqa: BLE001 - whatever a job gives: a line with odd fields is better than none
            return json.dumps({name: _plain(value) for name, value in fields.items()})


def _plain(value: object) -> str:
    try:
        return value if isinstance(value, str) else repr(value)
    except Exception:  # noqa: BLE001
        return f"<{type(value).__name__}>"


def set_up(level: str, form: str = "console") -> Origin:
    """Send reliq's and the application's logs to standard error, unless the application has set up its own.

    `form` is `console` or `json`.
    """
    root, origin = logging.getLogger(), Origin()
    if not root.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(Json() if form == "json" else Console(FORMAT))
        handler.addFilter(origin)
        root.addHandler(handler)
        root.setLevel(level)
    logging.getLogger("reliq").setLevel(level)
    return origin
