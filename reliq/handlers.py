"""Which function runs under which name."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from inspect import Parameter
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


class Parameters:
    """What a job's function can be called with.

    `inspect` says it too, and says best what is wrong, but takes longer than all else that is done for a job. So it is
    asked once, and again when arguments do not fit. After so many positional arguments, `_needed` are the parameters
    that have no value yet, and `_free` the ones that can still be named.
    """

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self._name = name
        self._signature = inspect.signature(function)
        parameters = self._signature.parameters.values()
        placed = [one for one in parameters if one.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)]
        named = [one for one in parameters if one.kind is Parameter.KEYWORD_ONLY]
        self._needed: list[frozenset[str]] = []
        self._free: list[frozenset[str]] = []
        if len(placed) + len(named) < len(parameters):
            return  # *args or **kwargs: `inspect` is asked each time
        for given in range(len(placed) + 1):
            left = [*placed[given:], *named]
            self._needed.append(frozenset(one.name for one in left if one.default is Parameter.empty))
            self._free.append(frozenset(one.name for one in left if one.kind is not Parameter.POSITIONAL_ONLY))

    def check(self, args: tuple[Any, ...] | list[Any], kwargs: dict[str, Any]) -> None:
        """Raise BadArguments unless the function can be called with these."""
        given = len(args)
        if given < len(self._needed):
            needed = self._needed[given]
            if (needed <= kwargs.keys() <= self._free[given]) if kwargs else not needed:
                return
        try:
            self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise BadArguments(f"job {self._name}: {error}") from None


@attrs.frozen(kw_only=True)
class Definition(Wishes):
    """A registered function under its name."""

    name: str = attrs.field(converter=check_name)
    function: Callable[..., Any]
    is_async: bool = attrs.field(init=False)
    """True for `async def`."""
    parameters: Parameters = attrs.field(repr=False, eq=False)

    @is_async.default
    def _is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.function)

    @parameters.default
    def _parameters(self) -> Parameters:
        try:
            return Parameters(self.name, self.function)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"job {self.name}: {error}; write a function around it") from None

    def __attrs_post_init__(self) -> None:
        if inspect.isgeneratorfunction(self.function) or inspect.isasyncgenfunction(self.function):
            raise ConfigError(f"job {self.name}: a generator does nothing when it is called; write a function")

    def check(self, args: tuple[Any, ...] | list[Any], kwargs: dict[str, Any]) -> None:
        """Raise BadArguments unless the function can be called with these."""
        self.parameters.check(args, kwargs)


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
