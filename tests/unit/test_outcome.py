"""reliq.outcome: what becomes of a job."""

import pytest

from reliq.backoff import MAX_RETRIES
from reliq.errors import BadArguments, BadPayload, JobInterrupted, JobTimeout, UnknownJob
from reliq.job import decode
from reliq.outcome import MAX_MESSAGE, Bury, Drop, Outcome, Release, Retry, bury_payload, describe, of_error, where

NOW = 1000.5


def outcome(fields: str, error: BaseException | None = None, retry: bool | int | None = None) -> Outcome:
    """What becomes of a job with these fields that fails now; its delay is 100 s and its retry count."""
    raw = b'{"class":"A","args":[1.0E+2]' + fields.encode() + b"}"
    problem = ValueError("no") if error is None else error
    return of_error(raw, decode(raw), problem, retry=retry, now=NOW, delay=lambda count: 100.0 + count)


def text(fields: str) -> bytes:
    """The payload of `outcome` with further fields."""
    return b'{"class":"A","args":[1.0E+2]' + fields.encode() + b"}"


def test_the_first_failure_is_retried() -> None:
    reason = ',"error_class":"ValueError","error_message":"no"'
    assert outcome("") == Retry(1100.5, text(reason + ',"retry_count":0,"failed_at":1000.5'), "ValueError: no")


def test_a_later_failure_keeps_when_it_failed_first() -> None:
    before = ',"retry_count":3,"failed_at":7.25,"error_class":"Old","error_message":"old"'
    after = ',"retry_count":4,"failed_at":7.25,"error_class":"ValueError","error_message":"no","retried_at":1000.5'
    assert outcome(before) == Retry(1104.5, text(after), "ValueError: no")


@pytest.mark.parametrize(
    ("fields", "retry", "ending"),
    [
        (',"retry_count":23', None, Retry),
        (',"retry_count":24', None, Bury),
        (',"retry_count":24', True, Bury),
        (',"retry":true,"retry_count":24', 99, Bury),
        ("", 0, Bury),
        ("", 1, Retry),
        (',"retry_count":0', 1, Bury),
        (',"retry":5,"retry_count":3', 0, Retry),
        (',"retry":5,"retry_count":4', None, Bury),
        (',"retry":0', 5, Bury),
        (',"retry":"often","retry_count":1', 2, Bury),
        ("", False, Drop),
        (',"retry":false', True, Drop),
        (',"retry":true', False, Retry),
    ],
)
def test_how_often_a_job_is_retried(fields: str, retry: bool | int | None, ending: type[Outcome]) -> None:
    """What the payload says comes before the definition, and that before the default of 25."""
    assert MAX_RETRIES == 25
    assert type(outcome(fields, retry=retry)) is ending


def test_the_last_failure_says_why_it_died() -> None:
    buried = outcome(',"retry":1,"retry_count":0')
    reason = ',"error_class":"ValueError","error_message":"no","retried_at":1000.5'
    assert buried == Bury(text(',"retry":1,"retry_count":1' + reason), "ValueError: no")


def test_a_job_that_is_not_retried_is_dropped() -> None:
    assert outcome(',"retry":false') == Drop("ValueError: no")


def test_an_interrupted_job_is_released_unharmed() -> None:
    assert outcome(',"retry":false', JobInterrupted()) == Release()
    assert of_error(b"broken", None, JobInterrupted(), now=NOW) == Release()


@pytest.mark.parametrize("error", [JobTimeout("after 3 s"), UnknownJob("no job A"), KeyboardInterrupt(), SystemExit(1)])
def test_these_errors_are_failures_like_any_other(error: BaseException) -> None:
    assert isinstance(outcome("", error), Retry)


@pytest.mark.parametrize("error", [BadArguments("one argument too many"), BadPayload("no `class`")])
def test_what_time_cannot_mend_is_buried_at_once(error: Exception) -> None:
    name = type(error).__name__
    reason = f',"error_class":"{name}","error_message":"{error}","failed_at":1000.5'
    assert outcome(',"retry":false', error) == Bury(text(',"retry":false' + reason), f"{name}: {error}")


@pytest.mark.parametrize("raw", [b"broken", b"5", b"[]", b"\xff", b"", b'{"a":1'])
def test_what_cannot_be_read_is_buried_as_it_is(raw: bytes) -> None:
    assert of_error(raw, None, BadPayload("no"), now=NOW) == Bury(raw, "BadPayload: no")


def test_an_object_that_is_no_job_is_buried_with_the_reason() -> None:
    raw = b'{"a": 1.0E+2}'
    reason = b'{"a":1.0E+2,"error_class":"BadPayload","error_message":"no","failed_at":1000.5}'
    assert of_error(raw, None, BadPayload("no"), now=NOW) == Bury(reason, "BadPayload: no")
    assert bury_payload(raw, "BadPayload", "no", NOW) == reason


def test_times_and_delays_are_the_real_ones_by_default() -> None:
    raw = b'{"class":"A"}'
    ending = of_error(raw, decode(raw), ValueError("no"))
    assert isinstance(ending, Retry)
    failed_at = float(ending.payload.rpartition(b":")[2].rstrip(b"}"))
    assert 15 <= ending.at - failed_at < 25


class Broken(Exception):
    """An error that cannot say what it is."""

    def __str__(self) -> str:
        raise ValueError("not even this")


class Outer:
    """Holds a class with a longer name."""

    class Inner(Exception):
        """An error of a class in a class."""


@pytest.mark.parametrize(
    ("error", "name", "message"),
    [
        (ValueError("a\nb"), "ValueError", "a\nb"),
        (Outer.Inner(), "Outer.Inner", ""),
        (Broken(), "Broken", "(the error's own __str__ failed)"),
        (ValueError("a\ud800é"), "ValueError", "a?é"),
        (ValueError("é" * 20_000), "ValueError", "é" * MAX_MESSAGE),
    ],
    ids=["lines", "nested", "broken", "surrogate", "long"],
)
def test_errors_in_words(error: Exception, name: str, message: str) -> None:
    assert describe(error) == (name, message)
    assert isinstance(outcome("", error), Retry)


def test_where_an_error_came_from() -> None:
    with pytest.raises(ValueError, match="no") as caught:
        int("no")
    lines = where(caught.value).split("\n")
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "ValueError: invalid literal for int() with base 10: 'no'"
