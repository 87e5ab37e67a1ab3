"""`reliq doctor`: what is wrong with the server, the fleet, and the way pods are stopped, before it costs a job."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import attrs
import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reliq import __version__
from reliq.cli.common import store_options
from reliq.cli.manifest import shutdowns
from reliq.cli.settings import Settings, gather
from reliq.clock import SystemClock
from reliq.doctor import CHECKS, PINGS, ROLES, Finding, Level, Shutdown, Subject, examine, needs
from reliq.errors import ConfigError
from reliq.store.keys import Keyspace
from reliq.store.opening import Store

FOUND = 1
COLORS = {Level.OK: "green", Level.NOTE: "cyan", Level.WARNING: "yellow", Level.PROBLEM: "bold red"}


@click.command()
@click.option("--strict", is_flag=True, help="Exit with 1 for a warning, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--check", "checks", multiple=True, type=click.Choice(list(CHECKS)), help="Make this one; may be repeated."
)
@click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice(ROLES),
    help="What the URL's user must be allowed to do (worker); may be repeated.",
)
@click.option(
    "--acl",
    type=click.Choice(["plain", "selectors"]),
    help="Only print the least rights for --role, as a line for its ACL file; selectors need Redis 7 or Valkey.",
)
@click.option(
    "--pings", type=click.IntRange(1, 100_000), default=PINGS, show_default=True, help="Round trips to measure."
)
@click.option(
    "--manifest",
    "manifests",
    multiple=True,
    metavar="FILE",
    help="Kubernetes manifests of workers (- for standard input); may be repeated.",
)
@click.option(
    "--grace-period", type=float, metavar="SECONDS", help="terminationGracePeriodSeconds, or systemd's TimeoutStopSec."
)
@click.option("--prestop-wait", type=float, default=0.0, metavar="SECONDS", help="How long the preStop hook waits (0).")
@click.option("-t", "--timeout", type=float, metavar="SECONDS", help="The worker's --timeout (25).")
@click.option("--beat", type=float, help="Seconds between heartbeats of the fleet (1).")
@click.option("--ttl", type=float, help="Seconds that a heartbeat lasts (10).")
@click.option("--confirm", type=float, help="Seconds that a missing heartbeat is watched (8).")
@store_options
def doctor(
    *,
    strict: bool,
    as_json: bool,
    checks: tuple[str, ...],
    roles: tuple[str, ...],
    acl: str | None,
    pings: int,
    manifests: tuple[str, ...],
    grace_period: float | None,
    prestop_wait: float,
    **given: Any,
) -> int:
    """Examine the server, the fleet and the way pods are stopped.

    Changes no job and no setting. Exit code 0: no problem; 1: a problem was found, with --strict a warning is enough.
    Give it the settings of the workers, as they are given to the workers.
    """
    settings = gather(given)
    if acl:
        click.echo(_user_line(roles or ("worker",), settings.config().namespace, selectors=acl == "selectors"))
        return 0
    pods = [one for path in manifests for one in shutdowns(path)]
    if grace_period is not None:
        pods.append(_told(settings, grace_period, prestop_wait))
    store = Store(settings.config())
    subject = Subject(store, SystemClock(), shutdowns=pods, roles=roles or ("worker",), pings=pings)
    try:
        findings = examine(subject, checks or CHECKS)
    finally:
        subject.close()
        store.close()
    if as_json:
        _print_json(store, findings)
    else:
        _print_table(store, findings)
    worst = max(finding.level for finding in findings)
    return FOUND if worst >= (Level.WARNING if strict else Level.PROBLEM) else 0


def _told(settings: Settings, grace_period: float, prestop_wait: float) -> Shutdown:
    if not (0 <= grace_period < math.inf and 0 <= prestop_wait < math.inf):
        raise ConfigError("--grace-period and --prestop-wait: give seconds, 0 or more")
    options = settings.with_options({"app": settings.values.get("app", "unnamed")}).worker()
    return Shutdown(
        name="the command line",
        grace_period=grace_period,
        prestop_wait=prestop_wait,
        timeout=options.timeout,
        grace=options.grace,
    )


def _print_json(store: Store, findings: list[Finding]) -> None:
    worst = max(finding.level for finding in findings)
    shown = [attrs.asdict(finding) | {"level": finding.level.word} for finding in findings]
    click.echo(json.dumps({"reliq": __version__, "redis": store.shown, "level": worst.word, "findings": shown}))


def _print_table(store: Store, findings: list[Finding]) -> None:
    console = Console(highlight=False)
    console.print(Text(f"reliq {__version__} looks at {store.shown}\n"))
    table = Table.grid(padding=(0, 2))
    # The worst first; what is well stands last, in the order of the checks.
    for finding in sorted(findings, key=lambda one: -one.level):
        table.add_row(Text(finding.level.word, COLORS[finding.level]), finding.check, Text(finding.what))
        if finding.why:
            table.add_row("", Text("why", "dim"), Text(finding.why, "dim"))
            table.add_row("", Text("do", "dim"), Text(finding.do))
    console.print(table)
    counts = Counter(finding.level for finding in findings)
    said = [
        f"{counts[level]} {level.word}" + "s" * (level > 0 and counts[level] > 1)
        for level in sorted(counts, reverse=True)
    ]
    console.print(Text("\n" + ", ".join(said)))


def _user_line(roles: Sequence[str], namespace: str, *, selectors: bool) -> str:
    rules = needs.acl(roles, Keyspace.of(namespace), selectors=selectors)
    return " ".join(["user", f"reliq-{roles[0]}", "on", ">PASSWORD", "resetchannels", "-@all", *rules])
