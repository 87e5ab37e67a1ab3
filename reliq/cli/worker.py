"""`reliq worker` and those who talk to it: quiet, stop; and the reaper on its own."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from reliq import __version__
from reliq.cli.common import log_options, say_error, store_options
from reliq.cli.settings import gather
from reliq.clock import SystemClock
from reliq.server import pidfile as pidfiles
from reliq.server.logs import set_up
from reliq.server.reaper import Reaper
from reliq.server.role import Role
from reliq.server.supervisor import Supervisor
from reliq.store.connection import check_server
from reliq.store.opening import Store

_log = logging.getLogger("reliq.reaper")

NO_WORKER = 3
NOTICE = 5.0
"""Seconds in which a worker takes note of a signal."""

_pidfile_option = click.option(
    "--pidfile",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The worker's pid file; default: all of this user.",
)


@click.command()
@click.option("-A", "--app", metavar="MODULE:NAME", help="The application, as in shop.jobs:app.")
@click.option("-q", "--queue", "queues", multiple=True, metavar="NAME[,WEIGHT]", help="A queue; may be repeated.")
@click.option("-c", "--concurrency", type=int, help="Threads per process (10).")
@click.option("--processes", type=int, help="Worker processes (1).")
@click.option("--superfetch/--no-superfetch", default=None, help="Claims survive a kill (default), or plain BRPOP.")
@click.option("-t", "--timeout", type=float, help="Seconds that jobs have to finish on stop (25).")
@click.option("--prefetch", type=float, help="Seconds of work to claim ahead of free threads (0.005); 0 for none.")
@click.option("--beat", type=float, help="Seconds between heartbeats (1).")
@click.option("--ttl", type=float, help="Seconds that a heartbeat lasts (10).")
@click.option("--confirm", type=float, help="Seconds that a missing heartbeat is watched (8).")
@click.option("--http", metavar="HOST:PORT", help="Serve /live, /ready and /metrics there; :PORT for all interfaces.")
@click.option("--live", type=float, help="Seconds without a turn, while slots are free, until /live fails (30).")
@click.option("--log-jobs", is_flag=True, default=None, help="Log the start and the end of each job.")
@click.option("--exit-on-unreachable", is_flag=True, default=None, help="Exit with 69 instead of waiting for Redis.")
@log_options
@click.option("--pidfile", type=click.Path(dir_okay=False, path_type=Path), help="Where to write the pid.")
@store_options
def worker(pidfile: Path | None, **given: Any) -> None:
    """Run jobs.

    Queues without weights are taken in strict order, with weights in proportion, all of weight 1 at random.
    TSTP makes it quiet, TERM and INT stop it (twice: at once), TTIN writes all stacks to the log.
    """
    settings = gather(given)
    options = settings.worker()
    set_up(options.log_level, options.log_format)
    role = Role(
        worker=options,
        version=__version__,
        url=settings.url if settings.url_on_command_line else None,
        default_url=settings.url,
        settings=settings.store(),
    )
    settings.config()  # whatever is wrong with it is said here, in one line, before anything starts
    Supervisor(role, pidfile).run()


@click.command()
@_pidfile_option
@click.option("--wait", type=float, metavar="SECONDS", help="Wait until nothing runs any more, at most so long.")
def quiet(pidfile: Path | None, wait: float | None) -> int:
    """Tell the worker of this pod to claim no more jobs. For a preStop hook.

    Exit code 0: it is quiet, and with --wait has nothing left to do; 1: it still runs jobs; 3: there is none.
    """
    return _signal_and_wait(
        pidfile,
        signal.SIGTSTP,
        lambda status: status is None or (status.state != "running" and (wait is None or status.busy == 0)),
        NOTICE if wait is None else wait,
        "still run jobs" if wait is not None else "did not become quiet",
    )


@click.command()
@_pidfile_option
@click.option("--wait", type=float, metavar="SECONDS", help="Wait until it has ended, at most so long.")
def stop(pidfile: Path | None, wait: float | None) -> int:
    """Tell the worker of this pod to stop.

    Exit code 0: it is stopping, and with --wait has ended; 1: it has not ended yet; 3: there is none.
    """
    return _signal_and_wait(
        pidfile,
        signal.SIGTERM,
        lambda status: status is None or (wait is None and status.state == "stopping"),
        NOTICE if wait is None else wait,
        "have not ended",
    )


def _signal_and_wait(
    path: Path | None, number: int, done: Callable[[pidfiles.Status | None], bool], seconds: float, otherwise: str
) -> int:
    found = pidfiles.running(path)
    if not found:
        say_error(f"no worker is running{f' with {path}' if path else ''}")
        return NO_WORKER
    for _, status in found:
        try:
            os.kill(status.pid, number)
        except ProcessLookupError:
            pass  # ended in between
        except PermissionError:
            say_error(f"not allowed to signal the worker, process {status.pid}")
            return 1
    try:
        return _wait([watch for watch, _ in found], done, seconds, otherwise)
    finally:
        for watch, _ in found:
            watch.close()


def _wait(
    watches: list[pidfiles.Watch], done: Callable[[pidfiles.Status | None], bool], seconds: float, otherwise: str
) -> int:
    until = time.monotonic() + seconds
    waiting = watches
    while waiting := [watch for watch in waiting if not done(watch.status())]:
        if time.monotonic() >= until:
            busy = sum(status.busy for status in (watch.status() for watch in waiting) if status is not None)
            say_error(f"{len(waiting)} of {len(watches)} workers {otherwise} after {seconds:g} s ({busy} jobs)")
            return 1
        time.sleep(0.02)
    return 0


@click.command()
@store_options
@click.option("--beat", type=float, help="Seconds between heartbeats of the fleet (1).")
@click.option("--ttl", type=float, help="Seconds that a heartbeat lasts (10).")
@click.option("--confirm", type=float, help="Seconds that a missing heartbeat is watched (8).")
@log_options
def reaper(**given: Any) -> None:
    """Bring back the jobs of dead workers, without running any.

    Every worker does this too. A reaper of its own helps when all workers may be gone at once. Any number may run.
    """
    settings = gather(given)
    set_up(settings.log_level(), settings.log_format())
    store = Store(settings.config())
    link = store.link("check")
    check_server(link)
    link.close()
    duty = Reaper(store, SystemClock())
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    duty.start()
    _log.info("reliq %s: reaper at %s", __version__, store.shown)
    ended.wait()
    duty.stop()
    duty.join()
    store.close()
