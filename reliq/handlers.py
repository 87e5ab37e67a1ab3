"""Which function runs under which name."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from reliq.errors import BadArguments, ConfigError, DuplicateJob, UnknownJob
from reliq.job import check_name, check_queue, check_retry


@attrs.frozen(kw_only=True)
class Wishes:
    """How a job wants to be run.

    `retry` is True (25 retries), False (forget it when it fails) or a number of retries; `timeout` seconds.
    """

    queue: str = attrs.field(default="default", converter=check_queue)
    retry: bool | int = attrs.field(default=True, converter=check_retry)
    timeout: float | None = attrs.field(default=None)

    @timeout.validator
    def _check_timeout(self, _: object, value: float | None) -> None:
        if value is not None and not 0 < value < math.inf:
            raise ConfigError(f"timeout = {value}; give seconds above 0, or None")


@attrs.frozen(kw_only=True)
class Definition(Wishes):
    """A registered function under its name."""

    name: str = attrs.field(converter=check_name)
    function: Callable[..., Any]
    is_async: bool = attrs.field(init=False)
    """True for `async def`."""

    @is_async.default
    def _is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.function)

    def __attrs_post_init__(self) -> None:
        if inspect.isgeneratorfunction(self.function) or inspect.isasyncgenfunction(self.function):
            raise ConfigError(f"job {self.name}: a generator does nothing when it is called; write a function")

    def check(self, args: tuple[Any, ...] | list[Any], kwargs: dict[str, Any]) -> None:
        """Raise BadArguments unless the function can be called with these."""
        try:
            inspect.signature(self.function).bind(*args, **kwargs)
        except TypeError as error:
            raise BadArguments(f"job {self.name}: {error}") from None


class Handlers:
    """The table of one application."""

    def __init__(self) -> None:
        self._table: dict[str, Definition] = {}

    def add(self, definition: Definition) -> None:
        """Register. Raises DuplicateJob if the name belongs to another function."""
        there = self._table.get(definition.name)
        if there is not None and there.function is not definition.function:
            raise DuplicateJob(
                f"job {definition.name!r} is registered twice: {_place(there.function)} and "
                f"{_place(definition.function)}; give one of them a name of its own, as in @app.job('name')"
            )
        self._table[definition.name] = definition

    def find(self, name: str) -> Definition:
        """Return the definition of a name. Raises UnknownJob."""
        try:
            return self._table[name]
        except KeyError:
            raise UnknownJob(
                f"no job is registered as {name!r} here; is its module imported by the application?"
            ) from None

    def get(self, name: str) -> Definition | None:
        """Return the definition of a name, None if there is none."""
        return self._table.get(name)

    def __iter__(self) -> Iterator[Definition]:
        """Yield all definitions."""
        return iter(self._table.values())

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._table)


def _place(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"
