"""The first function of a worker process, and how it finds the application."""

from __future__ import annotations

import gc
import importlib
import logging
import os
import signal
import sys
import traceback
from ctypes import Array, c_char
from multiprocessing.connection import Connection
from pathlib import Path

from reliq.app import Reliq
from reliq.errors import ConfigError, ReliqError
from reliq.server.board import Board
from reliq.server.logs import Origin, set_up
from reliq.server.process import Worker
from reliq.server.role import Role

SWITCH = 0.002
"""Seconds after which a thread lets another one run Python. With the interpreter's own 5 ms the loop would wait for
its turn longer than for Redis, and what it claimed ahead would be done meanwhile."""

_log = logging.getLogger("reliq.worker")


def load(path: str) -> Reliq:
    """Return the application named `module:name` (`name` defaults to `app`). Raises ConfigError, one line."""
    module_name, _, attribute = path.partition(":")
    if not module_name:
        raise ConfigError(f"-A {path!r}: write module:name, as in shop.jobs:app")
    if os.getcwd() not in sys.path:  # noqa: PTH109 - sys.path holds strings
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    try:
        module = importlib.import_module(module_name)
    except ReliqError as error:
        raise ConfigError(f"-A {path}: {error}") from None
    except BaseException as error:  # noqa: BLE001 - a module may do anything when imported, SystemExit too
        raise ConfigError(f"-A {path}: cannot import {module_name}: {_short(error)}") from None
    found = getattr(module, attribute or "app", None)
    if found is None:
        raise ConfigError(f"-A {path}: {module_name} has no {attribute or 'app'!r}; write module:name")
    if not isinstance(found, Reliq):
        raise ConfigError(f"-A {path}: {attribute or 'app'} is a {type(found).__name__}, not a Reliq application")
    return found


def _short(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    at = "" if last is None or "importlib" in last.filename else f" ({Path(last.filename).name}:{last.lineno})"
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}{at}"


def main(pipe: Connection, memory: Array[c_char], role: Role) -> None:
    """Load the application and work until the end. Runs in the worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTSTP})  # blocked for the fork server, see children.py
    origin = set_up(role.worker.log_level, role.worker.log_format)
    try:
        _work(pipe, memory, role, origin)
    except ReliqError as error:
        pipe.send(("failed", str(error)))
        _leave_at_once(1)
    except BaseException:  # noqa: BLE001 - a process without its loop must not live on, and be beaten for
        _log.exception("unexpected error: this process ends, and its jobs go back to their queues")
        _leave_at_once(70)


def _work(pipe: Connection, memory: Array[c_char], role: Role, origin: Origin) -> None:
    app = load(role.worker.app)
    config = app.configure(url=role.url, default_url=role.default_url, **role.settings)
    pipe.send(("app", config, len(app.handlers)))
    sys.setswitchinterval(SWITCH)
    gc.freeze()  # what was imported stays: the collector need not look at it again and again
    worker = Worker(app, config, role, pipe, Board(memory))
    origin.identity = lambda: worker.identity
    signal.signal(signal.SIGTERM, lambda *_: worker.ask_to_stop())
    signal.signal(signal.SIGTTIN, lambda *_: _log.warning("stacks of process %d\n%s", os.getpid(), worker.stacks()))
    worker.run()
    app.close()


def _leave_at_once(code: int) -> None:
    # Not by way of the interpreter's end: that waits for threads of the application, which may never end.
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
