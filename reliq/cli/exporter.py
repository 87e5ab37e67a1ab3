"""`reliq exporter`: fleet-wide numbers over HTTP."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from typing import Any

import click

from reliq import __version__
from reliq.cli.common import store_options
from reliq.cli.settings import gather
from reliq.clock import SystemClock
from reliq.config import LOG_LEVELS
from reliq.exporter.deletion import DeletionCost
from reliq.exporter.kubernetes import Pods
from reliq.exporter.metrics import Metrics
from reliq.exporter.pages import pages
from reliq.exporter.reader import Reader
from reliq.server.http import HttpServer
from reliq.server.logs import set_up
from reliq.store.opening import Store
from reliq.survey import Surveyor

_log = logging.getLogger("reliq.exporter")


@click.command()
@click.option("--http", "address", default=":9798", show_default=True, metavar="HOST:PORT", help="Where to listen.")
@click.option(
    "--max-queues",
    type=click.IntRange(min=0),
    default=200,
    show_default=True,
    help="Queues with a label of their own; the others are summed up.",
)
@click.option(
    "--pod-deletion-cost",
    is_flag=True,
    help="Annotate worker pods with how much they do, so that Kubernetes deletes idle ones first.",
)
@store_options
@click.option("--log-level", type=click.Choice(LOG_LEVELS, case_sensitive=False))
def exporter(address: str, max_queues: int, log_level: str | None, *, pod_deletion_cost: bool, **given: Any) -> None:
    """Serve numbers of the whole fleet: /metrics for Prometheus, /scale for scalers, /live and /ready for probes.

    They come from Redis alone, also when no worker runs. One exporter serves a fleet.
    """
    settings = gather({**given, "log_level": log_level})
    set_up(settings.log_level())
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with contextlib.ExitStack() as end:
        store = Store(settings.config())
        end.callback(store.close)
        reader = Reader(Surveyor(store), SystemClock())
        end.callback(reader.close)
        server = end.enter_context(HttpServer(address, pages(reader, Metrics(reader, __version__, max_queues))))
        if pod_deletion_cost:
            duty = DeletionCost(reader, Pods.around(os.environ))
            end.callback(duty.join)
            end.callback(duty.stop)
            duty.start()
        _log.info("exporter of %s at http://%s", store.shown, server.address)
        ended.wait()
