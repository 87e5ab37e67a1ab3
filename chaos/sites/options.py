"""The options of the command line that say where a run takes place."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click
import redis

from chaos.sites.kubectl import Kubernetes

NEEDED = ("deployment", "url", "collector")
OPTIONAL = ("kube_context", "kube_namespace")


def site_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options; hand the command what they say as `where`: None means this machine."""

    @wraps(command)
    def told(*, driver: str, **given: Any) -> None:
        ours = {name: given.pop(name) for name in (*NEEDED, *OPTIONAL)}
        command(where=_where(driver, ours), **given)

    decorators = (
        click.option(
            "--driver",
            type=click.Choice(["local", "kubectl"]),
            default="local",
            show_default=True,
            help="Where the pods are: on this machine, or those of a Deployment (docs/chaos-kubernetes.md).",
        ),
        click.option("--kube-context", help="Which cluster, as kubectl knows it; by default its current one."),
        click.option("--kube-namespace", help="Where the Deployment is; by default that of the context."),
        click.option("--deployment", help="The Deployment whose pods are played with."),
        click.option("--url", callback=_url, help="How this machine reaches the Redis that the pods use."),
        click.option(
            "--collector",
            metavar="HOST:PORT",
            callback=_collector,
            help="Where this machine listens to the jobs, as the pods can reach it.",
        ),
    )
    for decorate in reversed(decorators):
        told = decorate(told)
    return told


def _where(driver: str, given: dict[str, Any]) -> Kubernetes | None:
    names = {name: f"--{name.replace('_', '-')}" for name in given}
    if driver == "local":
        if surplus := [names[name] for name, value in given.items() if value is not None]:
            raise click.UsageError(f"{surplus[0]} is for --driver kubectl only")
        return None
    if missing := [names[name] for name in NEEDED if given[name] is None]:
        raise click.UsageError(f"--driver kubectl needs {' and '.join(missing)}")
    return Kubernetes(
        deployment=given["deployment"],
        url=given["url"],
        collector=given["collector"],
        context=given["kube_context"] or "",
        namespace=given["kube_namespace"] or "",
    )


def _url(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    del context, parameter
    if value is not None:
        try:
            redis.ConnectionPool.from_url(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
    return value


def _collector(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, int] | None:
    del context, parameter
    if value is None:
        return None
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise click.BadParameter(f"{value!r} is not HOST:PORT, as 172.18.0.1:7070")
    return host, int(port)
