"""reliq.handlers: what a job's function can be called with."""

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reliq.errors import BadArguments, ConfigError
from reliq.handlers import Definition, Parameters

NAMES = "abcdef"
CALLS = st.tuples(
    st.integers(0, 7).map(lambda count: (0,) * count),
    st.dictionaries(st.sampled_from([*NAMES, "unknown"]), st.just(0), max_size=7),
)


@st.composite
def functions(draw: st.DrawFn) -> Callable[..., Any]:
    """A function with parameters of all kinds, in an order that Python allows."""
    kinds = sorted(draw(st.lists(st.sampled_from(list(inspect._ParameterKind)), max_size=len(NAMES))))
    several = [inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD]
    kinds = [kind for at, kind in enumerate(kinds) if kind not in several or kind not in kinds[:at]]
    placed = sum(kind < inspect.Parameter.VAR_POSITIONAL for kind in kinds)
    defaults = draw(st.integers(0, placed))
    parameters = []
    for at, (name, kind) in enumerate(zip(NAMES, kinds, strict=False)):
        optional = placed - defaults <= at < placed or (kind is inspect.Parameter.KEYWORD_ONLY and draw(st.booleans()))
        default = 1 if optional else inspect.Parameter.empty
        parameters.append(inspect.Parameter(name, kind, default=default))

    def function(*_: object, **__: object) -> None: ...

    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return function


@given(functions(), CALLS)
@example(lambda a, /, b: None, ((), {"a": 0, "b": 0}))
@example(lambda a, b=1, *, c: None, ((0,), {"c": 0}))
@example(lambda a: None, ((0,), {"a": 0}))
def test_a_call_fits_when_python_says_so(
    function: Callable[..., Any], call: tuple[tuple[int, ...], dict[str, int]]
) -> None:
    args, kwargs = call
    parameters = Parameters("shop", function)
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError as error:
        with pytest.raises(BadArguments, match=f"^job shop: {re.escape(str(error))}$"):
            parameters.check(args, kwargs)
    else:
        parameters.check(args, kwargs)


def test_a_function_that_does_not_say_what_it_takes_is_no_job() -> None:
    with pytest.raises(ConfigError, match=r"^job shop: no signature found for .*; write a function around it$"):
        Definition(name="shop", function=dict)
