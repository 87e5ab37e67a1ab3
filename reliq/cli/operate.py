"""Commands of producers and operators: enqueue, status, queues."""

from __future__ import annotations

import json
import time
from typing import Any

import attrs
import click
from rich.console import Console
from rich.live import Live
from rich.table import Table

from reliq.cli.common import inspecting, store_options
from reliq.cli.settings import Settings, gather
from reliq.client import Client, due_in
from reliq.errors import BadArguments
from reliq.inspect import Inspector, QueueView, StatusView
from reliq.job import check_name, check_queue, check_retry
from reliq.store.opening import Store


@click.command()
@click.argument("name")
@click.argument("arguments", nargs=-1, metavar="[JSON]...")
@click.option("-q", "--queue", default="default", show_default=True)
@click.option("--in", "delay", type=float, metavar="SECONDS", help="Run it so many seconds from now.")
@click.option("--retry", type=int, help="Attempts after the first failure (25).")
@store_options
def enqueue(
    name: str, arguments: tuple[str, ...], queue: str, delay: float | None, retry: int | None, **given: Any
) -> None:
    """Enqueue a job by NAME; arguments are JSON. Prints its jid.

    As in: reliq enqueue SendMail 42 '"rich"' -q mailers
    """
    args = [_parsed(position, text) for position, text in enumerate(arguments, 1)]
    at = None if delay is None else due_in(delay)
    client = Client(Store(gather(given).config()))
    try:
        rule = True if retry is None else check_retry(retry)
        click.echo(client.enqueue(check_name(name), args, {}, queue=check_queue(queue), retry=rule, at=at))
    finally:
        client.close()


def _parsed(position: int, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        shown = text if len(text) <= 60 else f"{text[:57]}..."
        hint = f"; a string needs quotes of its own: '\"{shown}\"'" if text.isprintable() and '"' not in text else ""
        raise BadArguments(f"argument {position}, {shown!r}, is not JSON{hint}") from None


@click.command()
@click.option("--watch", is_flag=True, help="Show it anew every second, until interrupted.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@store_options
def status(*, watch: bool, as_json: bool, **given: Any) -> None:
    """Show counts, queues and living workers."""
    with inspecting(gather(given)) as inspector:
        if as_json:
            click.echo(json.dumps(attrs.asdict(inspector.status())))
        elif watch:
            _watch(inspector)
        else:
            Console().print(_status_table(inspector.status()))


def _watch(inspector: Inspector) -> None:
    try:
        with Live(_status_table(inspector.status()), auto_refresh=False) as live:
            while True:
                time.sleep(1.0)
                live.update(_status_table(inspector.status()), refresh=True)
    except KeyboardInterrupt:
        pass


def _status_table(view: StatusView) -> Table:
    table = Table.grid(padding=(0, 2))
    counts = (
        f"processed {view.processed:,}   failed {view.failed:,}   scheduled {view.scheduled:,}   "
        f"retries {view.retries:,}   dead {view.dead:,}"
    )
    table.add_row(counts)
    table.add_row(_queue_table(view.queues))
    processes = Table("process", "queues", "threads", "jobs", "up", "state", title="", title_justify="left")
    now = time.time()
    for process in view.processes:
        state = "stopping" if process.stopping else "quarantine" if process.quarantine else "running"
        processes.add_row(
            process.identity,
            ", ".join(process.queues),
            str(process.concurrency),
            str(process.held),
            f"{now - process.started:,.0f} s",
            state,
        )
    table.add_row(processes if view.processes else "no living worker")
    return table


def _queue_table(views: list[QueueView]) -> Table:
    table = Table("queue", "waiting", "oldest", "running", "orphaned", "quarantine", "")
    for view in views:
        table.add_row(
            view.name,
            f"{view.size:,}",
            "" if view.latency is None else f"{view.latency:,.1f} s",
            str(view.held),
            str(view.orphaned),
            str(view.quarantined),
            "paused" if view.paused else "",
        )
    return table


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@store_options
@click.pass_context
def queues(context: click.Context, /, *, as_json: bool, **given: Any) -> None:
    """List queues; pause and resume them."""
    context.obj = gather(given)
    if context.invoked_subcommand is not None:
        return
    with inspecting(context.obj) as inspector:
        views = inspector.queues()
    if as_json:
        click.echo(json.dumps([attrs.asdict(view) for view in views]))
    elif not views:
        click.echo("no queue yet")
    else:
        Console().print(_queue_table(views))


@queues.command()
@click.argument("name")
@store_options
@click.pass_obj
def pause(settings: Settings, /, name: str, **given: Any) -> None:
    """Claim no more jobs from a queue."""
    with inspecting(settings.with_options(given)) as inspector:
        inspector.pause(name)
    click.echo(f"{name} is paused")


@queues.command()
@click.argument("name")
@store_options
@click.pass_obj
def resume(settings: Settings, /, name: str, **given: Any) -> None:
    """Claim jobs from a queue again."""
    with inspecting(settings.with_options(given)) as inspector:
        was_paused = inspector.resume(name)
    click.echo(f"{name} is resumed" if was_paused else f"{name} was not paused")
