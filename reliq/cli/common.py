"""What several commands share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click

from reliq.cli.settings import Settings
from reliq.config import LOG_FORMATS, LOG_LEVELS
from reliq.inspect import Inspector
from reliq.store.opening import Store

F = TypeVar("F", bound=Callable[..., Any])


def say_error(text: str) -> None:
    """Write one line to standard error."""
    click.echo(f"reliq: {' '.join(text.split())}", err=True)


def store_options(function: F) -> F:
    """Add the options that say which Redis, to a command."""
    function = click.option("--namespace", help="Prefix of every key.")(function)
    return click.option("--url", help="Redis URL: redis://, rediss://, unix:// or embedded:.")(function)


def log_options(function: F) -> F:
    """Add the options that say what is logged and how, to a command."""
    function = click.option("--log-format", type=click.Choice(LOG_FORMATS), help="Log lines as text or as JSON.")(
        function
    )
    return click.option("--log-level", type=click.Choice(LOG_LEVELS, case_sensitive=False))(function)


@contextlib.contextmanager
def inspecting(settings: Settings) -> Iterator[Inspector]:
    """Give an Inspector and close it."""
    store = Store(settings.config())
    inspector = Inspector(store)
    try:
        yield inspector
    finally:
        inspector.close()
        store.close()
