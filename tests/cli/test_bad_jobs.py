"""Jobs that cannot be enqueued: one clear line, exit code 1 or an exception, and nothing reaches Redis."""

import datetime
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

import reliq as package
from chaos.servers import Server
from reliq import BadArguments, ConfigError, DuplicateJob, PayloadTooLarge
from tests.cli.conftest import Reliq

FAILED, USAGE = 1, 2
HUGE = "9" * 300


def brief(value: object) -> str:
    """A parameter's value as a part of a test's name: the same in every process."""
    text = ascii(value) if isinstance(value, str | bytes | float | list | dict) else type(value).__name__
    text = f"int of {len(str(value))} digits" if isinstance(value, int) and not isinstance(value, bool) else text
    return text if len(text) < 40 else f"{text[:30]}... {len(text)}"


@pytest.fixture(autouse=True)
def nothing_is_there(at_server: Server) -> Iterator[None]:
    """After each of these tests Redis holds no key at all."""
    yield
    with at_server.client() as client:
        assert client.keys("*") == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["quick", "hello"], "argument 1, 'hello', is not JSON; a string needs quotes of its own: '\"hello\"'"),
        (["quick", "1", "{'a': 1}"], "argument 2, \"{'a': 1}\", is not JSON"),
        (["quick", "[1,]"], "argument 1, '[1,]', is not JSON"),
        (["quick", ""], "argument 1, '', is not JSON"),
        (["quick", "NaN"], "argument 1: nan is not JSON; pass None or a string"),
        (["quick", "[0, -Infinity]"], "argument 1[1]: -inf is not JSON; pass None or a string"),
        (["quick", "1e999"], "argument 1: inf is not JSON; pass None or a string"),
        (["quick", HUGE], "argument 1: the integer does not fit into 64 bits; pass it as a string"),
        (["quick", "9" * 5000], "argument 1"),
        (["quick", r'"\ud800"'], "argument 1: a lone surrogate is not text; decode the string properly first"),
        (["quick", r'{"\ud800": 1}'], "argument 1: a lone surrogate is not text; decode the string properly first"),
        (["quick", "[" * 300 + "]" * 300], "argument 1"),
        (["quick", "[" * 100_000], "argument 1"),
        (["quick", "--in", "-1"], "delay -1 s lies in the past; give 0 or more"),
        (["quick", "--in", "nan"], "delay nan: give seconds or a timedelta"),
        (["quick", "--in", "inf"], "delay inf"),
    ],
    ids=brief,
)
def test_the_command_line_refuses(reliq: Reliq, words: list[str], said: str) -> None:
    answer = reliq("enqueue", *words)
    assert answer.code == FAILED
    assert said in answer.line
    assert len(answer.line) < 500


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["quick", "-q", "{mail}"], "queue name '{mail}': braces are not allowed"),
        (["quick", "-q", ""], "queue name '': use 1 to 128 printable characters"),
        (["", "1"], "job name ''"),
        (["two\nlines"], "job name"),
        (["quick", "--retry", "-1"], "retry"),
    ],
    ids=brief,
)
def test_names_and_options_are_checked(reliq: Reliq, words: list[str], said: str) -> None:
    answer = reliq("enqueue", *words)
    assert answer.code in {FAILED, USAGE}
    assert said in answer.line


def test_a_payload_over_the_limit(reliq: Reliq, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELIQ_MAX_PAYLOAD", "200")
    answer = reliq("enqueue", "quick", json.dumps("x" * 300))
    assert answer.code == FAILED
    assert "bytes, the limit is 200; store the data elsewhere and pass a reference" in answer.line


@pytest.fixture
def app(at_server: Server) -> Iterator[package.Reliq]:
    """An application of one job."""
    one = package.Reliq(at_server.url)
    yield one
    one.close()


@pytest.fixture
def quick(app: package.Reliq) -> Any:
    """That job, without its types: these tests are about what a type checker would have caught."""

    @app.job
    def quick(key: object = None) -> None:
        """Do nothing."""

    return quick


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b"bytes", "argument 1: bytes is not JSON; pass a string, number, list, dict, bool or None"),
        (math.nan, "argument 1: nan is not JSON"),
        (math.inf, "argument 1: inf is not JSON"),
        (int(HUGE), "argument 1: the integer does not fit into 64 bits"),
        (-(2**63) - 1, "argument 1: the integer does not fit into 64 bits"),
        ("\ud800", "argument 1: a lone surrogate is not text"),
        ({"a": [1, {2}]}, "argument 1['a'][1]: set is not JSON"),
        ({1: 2}, "argument 1: the key 1 is not a string, as JSON wants it"),
        (datetime.datetime.now(datetime.UTC), "argument 1: datetime is not JSON"),
        (object(), "argument 1: object is not JSON"),
    ],
    ids=brief,
)
def test_arguments_that_are_not_json(app: package.Reliq, quick: Any, value: object, said: str) -> None:
    with pytest.raises(BadArguments) as refused:
        quick.enqueue(value)
    assert said in str(refused.value)
    calls = (
        lambda: quick.enqueue(key=value),
        lambda: quick.enqueue_in(60, value),
        lambda: quick.enqueue_many([(value,)]),
        lambda: app.enqueue("another", value),
        lambda: app.enqueue("another", key=value),
    )
    for call in calls:
        with pytest.raises(BadArguments):
            call()


def test_a_list_that_contains_itself(quick: Any) -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(BadArguments, match="nested more than"):
        quick.enqueue(endless)


def test_the_limit_is_one_mebibyte_by_default(quick: Any) -> None:
    with pytest.raises(PayloadTooLarge, match=r"the payload has 1,048,\d+ bytes, the limit is 1,048,576"):
        quick.enqueue("x" * 1024 * 1024)


def test_the_type_of_arguments_to_enqueue_many(quick: Any) -> None:
    with pytest.raises(BadArguments, match="enqueue_many wants a tuple per job, not 7"):
        quick.enqueue_many([7])


@pytest.mark.parametrize(
    ("when", "said"),
    [
        (datetime.datetime(2030, 1, 1), "2030-01-01T00:00:00 has no time zone; use an aware datetime"),  # noqa: DTZ001
        (math.nan, "time nan: give an aware datetime or epoch seconds"),
        (math.inf, "time inf"),
        ("tomorrow", "time 'tomorrow': give an aware datetime or epoch seconds"),
        (True, "time True: give an aware datetime or epoch seconds"),
        (None, "time None: give an aware datetime or epoch seconds"),
    ],
    ids=str,
)
def test_moments_that_are_none(app: package.Reliq, quick: Any, when: Any, said: str) -> None:
    with pytest.raises(BadArguments) as refused:
        quick.enqueue_at(when)
    assert said in str(refused.value)
    with pytest.raises(BadArguments):
        app.enqueue_at(when, "another")


@pytest.mark.parametrize(
    ("delay", "said"),
    [
        (-1, "delay -1 s lies in the past; give 0 or more"),
        (datetime.timedelta(seconds=-1), "delay -1 s lies in the past; give 0 or more"),
        (math.nan, "delay nan: give seconds or a timedelta"),
        (math.inf, "delay inf"),
        ("an hour", "delay 'an hour': give seconds or a timedelta"),
        (None, "delay None: give seconds or a timedelta"),
    ],
    ids=str,
)
def test_delays_that_are_none(app: package.Reliq, quick: Any, delay: Any, said: str) -> None:
    with pytest.raises(BadArguments) as refused:
        quick.enqueue_in(delay)
    assert said in str(refused.value)
    with pytest.raises(BadArguments):
        app.enqueue_in(delay, "another")


def test_a_name_may_be_registered_once(app: package.Reliq, quick: Any) -> None:
    with pytest.raises(DuplicateJob, match=r"job 'quick' is registered twice: .*quick and .*other"):

        @app.job("quick")
        def other() -> None:
            """Another function."""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"queue": "{mail}"}, "braces are not allowed"),
        ({"queue": ""}, "use 1 to 128 printable characters"),
        ({"retry": -1}, "retry = -1; give True, False or a number of retries"),
        ({"timeout": 0}, "timeout = 0; give seconds above 0, or None"),
    ],
    ids=str,
)
def test_options_of_a_job_are_checked_when_it_is_defined(app: package.Reliq, options: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        app.job(**options)(lambda: None)


@pytest.mark.parametrize("options", [{"queue": "{mail}"}, {"retry": -1}], ids=str)
def test_options_of_one_call_are_checked_too(app: package.Reliq, quick: Any, options: Any) -> None:
    with pytest.raises(ConfigError):
        quick.using(**options).enqueue()
    with pytest.raises((ConfigError, BadArguments)):
        app.enqueue("another", **options)


@pytest.mark.parametrize("name", ["", "two\nlines", "\ud800"], ids=repr)
def test_names_that_no_worker_could_know(app: package.Reliq, name: str) -> None:
    with pytest.raises((BadArguments, ConfigError)):
        app.enqueue(name)
