"""The command `reliq bench`."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs
import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from reliq import __version__
from reliq.cli.bench.jobs import app
from reliq.cli.bench.machine import machine
from reliq.cli.bench.measuring import Figure, Measuring, Sizes, clear
from reliq.cli.bench.worker import Worker
from reliq.cli.demo.pods import end_server
from reliq.errors import Refused
from reliq.inspect import Inspector
from reliq.store.connection import Link, info
from reliq.store.opening import Store

NAMESPACE = "reliq-bench"


@attrs.frozen(kw_only=True)
class Bench:
    """What was measured, on what."""

    machine: str
    server: str
    durability: str
    processes: int
    concurrency: int
    figures: list[Figure]


@click.command()
@click.option("--url", help="Measure on this server instead of one of its own. RELIQ_URL is not looked at.")
@click.option("--processes", type=click.IntRange(1, 64), default=1, show_default=True, help="Worker processes.")
@click.option("-c", "--concurrency", type=click.IntRange(1, 1000), default=10, show_default=True, help="Threads each.")
@click.option("--jobs", type=click.IntRange(10), default=20_000, show_default=True, help="Of one no-op drain.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Medians of so many.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def bench(*, url: str | None, processes: int, concurrency: int, jobs: int, rounds: int, as_json: bool) -> None:
    """Measure what a worker does on this machine.

    Starts a server of its own, unless --url names one, and a worker. All keys are in the namespace `reliq-bench` and
    are deleted in the end. Refuses to run where somebody uses that namespace. Do not measure on a server that is in
    use: it is kept as busy as it can be.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    sizes = Sizes(jobs=jobs, rounds=rounds, samples=20 * rounds)
    folder = Path(tempfile.mkdtemp(prefix="reliq-bench-"))
    try:
        result = _measured(url or f"embedded://{quote(str(folder / 'server'))}", folder, sizes, processes, concurrency)
    finally:
        if url is None:
            end_server(folder / "server")
        shutil.rmtree(folder, ignore_errors=True)
        signal.signal(signal.SIGTERM, before)
    if as_json:
        click.echo(json.dumps({"reliq": __version__, **attrs.asdict(result)}, indent=1))
    else:
        _show(result)


def _measured(url: str, folder: Path, sizes: Sizes, processes: int, concurrency: int) -> Bench:
    config = app.configure(url=url, namespace=NAMESPACE)
    store = Store(config)
    link, inspector = store.link("bench"), Inspector(store)
    try:
        _refuse_company(inspector)
        with _cleared(link, store):
            measuring = Measuring(link, store.keys, inspector, folder, sizes)
            figures = measuring.enqueue()
            with Worker(store.url, NAMESPACE, folder, processes=processes, concurrency=concurrency) as worker:
                measuring.ready(worker, processes)
                figures += measuring.drain(worker)
                figures += measuring.io(worker, processes * concurrency)
                figures += measuring.latency(worker)
            return Bench(
                machine=machine(),
                server=_server(link),
                durability=_durability(link),
                processes=processes,
                concurrency=concurrency,
                figures=figures,
            )
    finally:
        inspector.close()
        link.close()
        app.close()
        store.close()


def _refuse_company(inspector: Inspector) -> None:
    status = inspector.status()
    waiting = sum(queue.size + queue.held + queue.orphaned + queue.quarantined for queue in status.queues)
    waiting += status.scheduled + status.retries + status.dead
    if waiting:
        raise click.ClickException(f"namespace {NAMESPACE!r} is not empty: {waiting:,} jobs. Measure on another server")
    if status.processes:
        raise click.ClickException(f"somebody works in namespace {NAMESPACE!r}: another `reliq bench`?")


@contextlib.contextmanager
def _cleared(link: Link, store: Store) -> Iterator[None]:
    try:
        yield
    finally:
        clear(link, store.keys)


def _server(link: Link) -> str:
    fields = info(link, "server")
    valkey = fields.get("valkey_version")
    return f"Valkey {valkey}" if valkey else f"Redis {fields.get('redis_version', '?')}"


def _durability(link: Link) -> str:
    """Return `none` or the policy of the append-only file; `unknown` where CONFIG is refused."""
    try:
        settings: list[Any] = link.call("CONFIG", "GET", "append*")
    except Refused:
        return "unknown"
    known = dict(zip(settings[::2], settings[1::2], strict=True))
    return known[b"appendfsync"].decode() if known[b"appendonly"] == b"yes" else "none"


def _show(result: Bench) -> None:
    console = Console(highlight=False)
    console.print(f"reliq {__version__}; {result.machine}; {result.server}, durability {result.durability}")
    plural = "es" if result.processes > 1 else ""
    console.print(f"{result.processes} worker process{plural} with {result.concurrency} threads\n")
    table = Table("", box=SIMPLE_HEAD, pad_edge=False, show_edge=False, show_header=False)
    table.add_column(justify="right")
    table.add_column()
    table.add_column(style="dim")
    for figure in result.figures:
        table.add_row(figure.title, _number(figure.value), figure.unit, figure.note)
    console.print(table)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
