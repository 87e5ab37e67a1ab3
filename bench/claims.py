"""`python -m bench claims`: what a claim costs when there are many queues, and what an idle worker sends."""

from __future__ import annotations

import math
import statistics
import time
from pathlib import Path
from typing import Any

import click
import psutil
from rich.table import Table

from bench.failed import Failed
from bench.peers.reliq import Reliq
from bench.programs import Programs
from bench.report import new_table, terminal
from bench.runner import measure
from bench.server import DURABILITIES, Durability, Place, serve
from bench.stage import Sizes, stage
from chaos.servers import MissingServer
from reliq.cli.bench.machine import machine

CLAIMED = (1, 10, 100, 1000)
IDLE = (1, 4, 16)
CALM = 5.0
"""Seconds after the first jobs in which a worker becomes idle."""


class Many(Reliq):
    """reliq with so many queues, in strict order, and the jobs spread evenly over them."""

    def __init__(self, queues: int) -> None:
        super().__init__(Path())
        self._names = [f"q{number}" for number in range(queues)]
        self.keys = tuple(f"queue:{name}" for name in self._names)

    def worker(self, *, processes: int, threads: int, url: str) -> list[list[str]]:
        [command] = super().worker(processes=processes, threads=threads, url=url)
        return [[*command, *(word for name in self._names for word in ("-q", name))]]

    def producer(self) -> list[str]:
        command = [str(self.installed.program), "-m", "bench.apps.producer", "bench.apps.many_app"]
        return ["env", f"BENCH_QUEUES={len(self._names)}", *command]


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--jobs", type=click.IntRange(1000, 900_000), default=20_000, show_default=True, help="Per drain.")
@click.option("--seconds", type=click.FloatRange(1.0), default=10.0, show_default=True, help="Of each idle look.")
@click.option("--durability", type=click.Choice(DURABILITIES), default="everysec", show_default=True)
def claims(rounds: int, jobs: int, seconds: float, durability: Durability) -> None:
    """Drain the same jobs from 1, 10, 100 and 1,000 queues, and count what an idle worker sends with 1, 4 and 16."""
    console = terminal()
    try:
        with serve(durability) as place:
            console.print(f"{machine()}; {place.title}, durability {durability}\n")
            console.print(_claimed(place, rounds, jobs))
            console.print()
            console.print(_idle(place, seconds))
    except (Failed, MissingServer) as error:
        raise click.ClickException(str(error)) from None


def _claimed(place: Place, rounds: int, jobs: int) -> Table:
    found: dict[int, list[dict[str, float]]] = {count: [] for count in CLAIMED}
    for _ in range(rounds):
        for count in CLAIMED:
            sample = measure("drain-1", Many(count), place, Sizes(jobs=jobs, drain=math.inf))
            if sample.failure:
                raise Failed(f"{count} queues: {sample.failure}")
            found[count].append(sample.values)
    table = new_table("queues", "jobs/s", "us per job", "to 1 queue", "server CPU, us per job", "to 1 queue")
    base = None
    for count, values in found.items():
        rate, cpu = (statistics.median(one[name] for one in values) for name in ("rate", "server-cpu"))
        base = base or (rate, cpu)
        ratios = base[0] / rate, cpu / base[1]
        cells = f"{rate:,.0f}", f"{1e6 / rate:.1f}", f"{ratios[0]:.2f}x", f"{cpu:.1f}", f"{ratios[1]:.2f}x"
        table.add_row(f"{count:,}", *cells)
    return table


def _idle(place: Place, seconds: float) -> Table:
    table = new_table("queues", "worker process, per s", "supervisor, per s", "most frequent", words=["most frequent"])
    for count in IDLE:
        with stage(Many(count), place, Sizes()) as one, one.producer() as producer, one.worker() as worker:
            one.warm(worker, producer)
            time.sleep(CALM)
            sent = watch(place, worker, seconds)
        totals = {role: sum(commands.values()) / seconds for role, commands in sent.items()}
        names: dict[str, int] = {}
        for commands in sent.values():
            for name, times in commands.items():
                names[name] = names.get(name, 0) + times
        often = sorted(names, key=lambda name: -names[name])[:3]
        shown = ", ".join(f"{name} {names[name] / seconds:.1f}" for name in often)
        table.add_row(str(count), f"{totals['process']:.1f}", f"{totals['supervisor']:.1f}", shown)
    return table


def watch(place: Place, worker: Programs, seconds: float) -> dict[str, dict[str, int]]:
    """Return how often which command was sent by the worker process and by its supervisor. Not what scripts call."""
    supervisor, *others = worker.tree()
    roles = dict.fromkeys(_ports([supervisor]), "supervisor") | dict.fromkeys(_ports(others), "process")
    sent: dict[str, dict[str, int]] = {"supervisor": {}, "process": {}}
    with place.client.monitor() as monitor:  # type: ignore[no-untyped-call]
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if not monitor.connection.can_read(timeout=left):
                continue
            command: dict[str, Any] = monitor.next_command()
            role = roles.get(int(command["client_port"] or 0)) if command["client_type"] == "tcp" else None
            if role is not None:
                name = str(command["command"]).split(" ", 1)[0].upper()
                sent[role][name] = sent[role].get(name, 0) + 1
    return sent


def _ports(processes: list[psutil.Process]) -> list[int]:
    return [link.laddr.port for process in processes for link in process.net_connections("tcp")]
