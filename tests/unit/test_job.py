"""reliq.job: payloads in and out."""

import json
import re
import uuid
from collections import OrderedDict
from enum import StrEnum
from itertools import islice
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reliq.edit import members, with_fields
from reliq.errors import BadArguments, BadPayload, ConfigError, PayloadTooLarge, ReliqError
from reliq.job import (
    anonymous_jid,
    check_arguments,
    check_queue,
    decode,
    encode,
    jid_of,
    name_text,
    new_jid,
    new_jids,
    text_of,
)


class Text(str):
    """A string with a meaning of its own, which JSON would lose."""

    __slots__ = ()


class Color(StrEnum):
    """A string that belongs to a type."""

    RED = "red"


class Pair(NamedTuple):
    """A tuple with names."""

    left: int
    right: int


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)
"""What JSON and Python both have."""

ODD = st.recursive(
    VALUES
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.sampled_from([b"", "\ud800", Color.RED, Text("x"), Pair(1, 2), uuid.UUID(int=1), OrderedDict(a=1), {1: 2}])
    | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.just("\ud800"), inner, max_size=3),
    max_leaves=10,
)
"""The same with what is only nearly so: orjson would take some of it, and write it as something else."""


def payload(*args: Any, retry: bool | int = True, max_payload: int = 1000, **kwargs: Any) -> bytes:
    """The payload of a job called A."""
    return encode("A", args, kwargs, jid="j1", queue="mail", retry=retry, now=7.5, max_payload=max_payload)


# -- writing


def test_a_payload_as_sidekiq_writes_it() -> None:
    assert payload(1, "b") == (
        b'{"class":"A","args":[1,"b"],"jid":"j1","queue":"mail","retry":true,"created_at":7.5,"enqueued_at":7.5}'
    )


def test_kwargs_are_written_when_there_are_any() -> None:
    assert b'"args":[],"kwargs":{"a":1},"jid"' in payload(a=1)


def test_a_scheduled_job_is_not_enqueued_yet() -> None:
    text = encode("A", [], {}, jid="j1", queue="mail", retry=3, now=7.5, scheduled=True)
    assert text == b'{"class":"A","args":[],"jid":"j1","queue":"mail","retry":3,"created_at":7.5}'


@given(st.lists(VALUES, max_size=5), st.dictionaries(st.text(min_size=1), VALUES, max_size=5))
def test_arguments_come_back_as_they_were(args: list[Any], kwargs: dict[str, Any]) -> None:
    job = decode(encode("A", args, kwargs, jid="j1", queue="mail", retry=2, now=7.5))
    # Compared as text: True is not 1 here, and 1 not 1.0.
    assert repr(job.args) == repr(args)
    assert repr(job.kwargs) == repr(kwargs)
    assert (job.name, job.jid, job.queue, job.retry) == ("A", "j1", "mail", 2)
    assert (job.retry_count, job.created_at, job.enqueued_at) == (None, 7.5, 7.5)


@given(st.lists(ODD, max_size=3), st.dictionaries(st.text(min_size=1), ODD, max_size=2))
def test_what_is_written_is_what_the_careful_check_lets_pass(args: list[Any], kwargs: dict[str, Any]) -> None:
    """Writing looks only quickly at most values, and must not let pass more, or say it in another way."""
    try:
        check_arguments(args, kwargs)
    except BadArguments as refusal:
        with pytest.raises(BadArguments, match=f"^{re.escape(str(refusal))}$"):
            encode("A", args, kwargs, jid="j1", queue="mail", retry=2, now=7.5)
    else:
        job = decode(encode("A", args, kwargs, jid="j1", queue="mail", retry=2, now=7.5))
        assert repr((job.args, job.kwargs)) == repr((args, kwargs))


def test_tuples_are_lists_on_the_wire() -> None:
    assert decode(payload((1, (2,)))).args == [[1, [2]]]


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"x", "argument 1: bytes is not JSON; pass a string, number, list, dict, bool or None"),
        (range(3), "argument 1: range is not JSON; pass a string, number, list, dict, bool or None"),
        ({1, 2}, "argument 1: set is not JSON; pass a string, number, list, dict, bool or None"),
        (1j, "argument 1: complex is not JSON; pass a string, number, list, dict, bool or None"),
        (Text("x"), "argument 1: Text is not JSON; pass a string, number, list, dict, bool or None"),
        (float("nan"), "argument 1: nan is not JSON; pass None or a string"),
        (float("inf"), "argument 1: inf is not JSON; pass None or a string"),
        (-float("inf"), "argument 1: -inf is not JSON; pass None or a string"),
        (10**300, "argument 1: the integer does not fit into 64 bits; pass it as a string"),
        (2**64, "argument 1: the integer does not fit into 64 bits; pass it as a string"),
        (-(2**63) - 1, "argument 1: the integer does not fit into 64 bits; pass it as a string"),
        ("a\ud800", "argument 1: a lone surrogate is not text; decode the string properly first"),
        ({"a\udcff": 1}, "argument 1: a lone surrogate is not text; decode the string properly first"),
        ({1: 2}, "argument 1: the key 1 is not a string, as JSON wants it"),
        (
            [1, {"k": (2, b"x")}],
            "argument 1[1]['k'][1]: bytes is not JSON; pass a string, number, list, dict, bool or None",
        ),
    ],
    ids=repr,
)
def test_what_json_cannot_carry_unchanged_is_refused_in_one_line(value: object, message: str) -> None:
    with pytest.raises(BadArguments) as caught:
        payload(value)
    assert str(caught.value) == message
    with pytest.raises(BadArguments, match=r"^argument word\b.*[^\n]$"):
        check_arguments([], {"word": value})


@pytest.mark.parametrize("value", [LOOP, json.loads("[" * 600 + "]" * 600)], ids=["endless", "too deep"])
def test_what_is_nested_without_end_is_refused(value: object) -> None:
    with pytest.raises(BadArguments, match="levels deep"):
        payload(value)


def test_a_payload_over_the_limit_says_how_large_it_is() -> None:
    assert len(payload("x" * 901)) == 1000
    with pytest.raises(PayloadTooLarge) as caught:
        payload("x" * 902)
    assert str(caught.value) == (
        "job A: the payload has 1,001 bytes, the limit is 1,000; store the data elsewhere and pass a reference"
    )


def test_ids_are_24_hexadecimal_digits() -> None:
    ids = {new_jid() for _ in range(100)} | set(islice(new_jids(), 200))
    assert len(ids) == 300
    assert all(re.fullmatch("[0-9a-f]{24}", jid) for jid in ids)


@pytest.mark.parametrize("name", ["a", "default", "a" * 128, "mit Umlaut ü:*?", ","])
def test_queue_names(name: str) -> None:
    assert check_queue(name) == name


@pytest.mark.parametrize("name", ["", "a" * 129, "a\n", "a\x00b", "\ud800", "{a", "a}", None, 5, b"a"], ids=repr)
def test_queue_names_that_are_refused_in_one_line(name: object) -> None:
    with pytest.raises(ConfigError, match=r"^queue name .*[^\n]\Z"):
        check_queue(name)


# -- reading


def test_a_payload_of_another_program() -> None:
    job = decode(b'{"retry":true,"queue":"q","class":"A","args":[1.0E+2],"jid":"x","created_at":1700000000123}')
    assert (job.name, job.args, job.retry, job.created_at) == ("A", [100.0], True, 1700000000.123)


LONG = [2**64, -(2**63) - 1, 10**19, 10**40, -(10**18), 10**18, 2**64 - 1, 1.5, 1e300, "1" * 300, None, True, 7]


@given(st.lists(st.recursive(st.sampled_from(LONG), lambda inside: st.lists(inside, max_size=2), max_leaves=6)))
def test_long_integers_stay_whole(args: list[Any]) -> None:
    # As the standard library writes and reads them: exactly.
    kept = decode(json.dumps({"class": "A", "args": args}).encode()).args
    assert kept == args
    assert repr(kept) == repr(args)


@given(st.lists(st.sampled_from(LONG), max_size=3))
def test_long_integers_stay_whole_by_their_names(values: list[Any]) -> None:
    kwargs = {f"key{at}": value for at, value in enumerate(values)}
    kept = decode(json.dumps({"class": "A", "args": [], "kwargs": kwargs}).encode()).kwargs
    assert repr(kept) == repr(kwargs)


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b'{"class":"Mail","args":[]}', b"Mail"),
        (b'{"retry":true,"queue":"default","class":"Mail","args":[1]}', b"Mail"),
        (b'{"class" : "Mail"}', b"Mail"),
        (b'{"class": ""}', b""),
        ('{"class":"Größe"}'.encode(), "Größe".encode()),
        (b'{"args":[{"class":"A"}],"class":"B"}', b"A"),  # a guess, and wrong
        (b'{"klass":"Mail"}', b""),
        (b"", b""),
    ],
)
def test_the_text_of_a_name_is_found_without_reading_all(payload: bytes, text: bytes) -> None:
    assert name_text(payload) == text


@given(st.binary(max_size=40), st.sampled_from([b"", b'"class":"', b'"class": "']))
def test_the_text_of_a_name_is_a_part_of_whatever_it_is_given(payload: bytes, before: bytes) -> None:
    assert name_text(before + payload) in before + payload


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the payload is not JSON: "),
        ("{", "the payload is not JSON: "),
        ('{"class":"A"} x', "the payload is not JSON: "),
        ('{"class":"A","args":[NaN]}', "the payload is not JSON: NaN is not a JSON value"),
        ("\udcff", "the payload is not UTF-8 at byte 0"),
        ('{"class":"\udcff"}', "the payload is not UTF-8 at byte 10"),
        ("5", "the payload is a JSON int, not an object"),
        ("null", "the payload is a JSON NoneType, not an object"),
        ('[{"class":"A"}]', "the payload is a JSON list, not an object"),
        ("{}", "the payload has no `class`, so nothing says which job to run"),
        ('{"class":""}', "the payload has no `class`, so nothing says which job to run"),
        ('{"class":5}', "the payload has no `class`, so nothing says which job to run"),
        ('{"class":"A","args":{}}', "`args` is a dict, not a list"),
        ('{"class":"A","args":null}', "`args` is a NoneType, not a list"),
        ('{"class":"A","kwargs":[]}', "`kwargs` is a list, not an object"),
        ("[" * 100_000, "the payload is not JSON: "),
        ('{"class":"A","args":[' + "7" * 5000 + "]}", "the payload is not JSON: "),
    ],
    ids=lambda text: text[:30],
)
def test_what_is_no_job_is_refused_in_one_line(text: str, reason: str) -> None:
    raw = text.encode("utf-8", "surrogateescape")
    with pytest.raises(BadPayload) as caught:
        decode(raw)
    assert str(caught.value).startswith(reason)
    assert "\n" not in str(caught.value)
    assert jid_of(raw) == anonymous_jid(raw)


@pytest.mark.parametrize(
    ("field", "attribute", "value"),
    [
        ('"retry":false', "retry", False),
        ('"retry":0', "retry", 0),
        ('"retry":-1', "retry", None),
        ('"retry":"5"', "retry", None),
        ('"retry":1.5', "retry", None),
        ('"retry_count":3', "retry_count", 3),
        ('"retry_count":18446744073709551616', "retry_count", None),
        ('"retry_count":true', "retry_count", None),
        ('"retry_count":-1', "retry_count", None),
        ('"retry_count":"3"', "retry_count", None),
        ('"kwargs":null', "kwargs", {}),
        ('"queue":5', "queue", None),
        ('"created_at":7.5', "created_at", 7.5),
        ('"created_at":7500', "created_at", 7.5),
        ('"created_at":1' + "0" * 400, "created_at", None),
        ('"created_at":true', "created_at", None),
        ('"enqueued_at":"now"', "enqueued_at", None),
        ('"jid":"x"', "jid", "x"),
    ],
)
def test_fields(field: str, attribute: str, value: object) -> None:
    job = decode(b'{"class":"A",' + field.encode() + b"}")
    assert getattr(job, attribute) == value
    assert type(getattr(job, attribute)) is type(value)


@pytest.mark.parametrize("field", ["", ',"jid":null', ',"jid":5', ',"jid":""'])
def test_a_job_without_an_id_is_known_by_its_hash(field: str) -> None:
    raw = b'{"class":"A"' + field.encode() + b"}"
    assert decode(raw).jid == jid_of(raw) == anonymous_jid(raw)


# -- editing

BLANKS = st.sampled_from(["", "", " ", "\n", "\t\r\n "])
NUMBERS = st.sampled_from(["0", "-0", "-0.0", "1.0E+2", "1e400", "0.10", "9" * 300, "-" + "7" * 20, "1E-7", "12"])
LETTERS = st.sampled_from(
    ["a", "é", "😀", "\\n", "\\u0041", "\\/", '\\"', "\\\\", "\\ud83d\\ude00", "\udcff", "}", "{", ","]
)
STRINGS = st.lists(LETTERS, max_size=6).map(lambda letters: '"' + "".join(letters) + '"')
SURROGATES = st.sampled_from(['"\\ud800"', '"\\udcff"', '"\\ude00\\ud83d"'])


def _listed(opening: str, closing: str, items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    padded = st.tuples(BLANKS, items, BLANKS).map("".join)
    inside = st.lists(padded, min_size=1, max_size=4).map(",".join) | BLANKS
    return inside.map(lambda text: opening + text + closing)


def _objects(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return _listed("{", "}", st.tuples(STRINGS, BLANKS, st.just(":"), BLANKS, values).map("".join))


TEXTS = st.recursive(
    NUMBERS | STRINGS | SURROGATES | st.sampled_from(["null", "true", "false"]),
    lambda inner: _listed("[", "]", inner) | _objects(inner),
    max_leaves=10,
)
"""JSON as other programs write it, with surrogate escapes for bytes that are no UTF-8."""

OBJECTS = st.tuples(BLANKS, _objects(TEXTS), BLANKS).map("".join)


def members_by_the_library(text: str) -> dict[str, Any]:
    """The members of an object, with every number as the text it was written in."""
    found: dict[str, Any] = json.loads(text, parse_int=str, parse_float=str)
    return found


@given(OBJECTS)
def test_setting_fields_leaves_the_text_of_all_others_alone(text: str) -> None:
    raw = text.encode("utf-8", "surrogateescape")
    edited = with_fields(raw, {"retry_count": 3, "a": "é"})
    new = edited.decode("utf-8", "surrogateescape")
    assert members_by_the_library(new) == members_by_the_library(text) | {"retry_count": "3", "a": "é"}
    kept = {key: value for key, value in members(raw).items() if key != "a"}
    assert all(value in text for value in kept.values())
    assert members(edited) == kept | {"retry_count": "3", "a": '"é"'}


@given(OBJECTS)
def test_setting_fields_twice_is_setting_them_once(text: str) -> None:
    once = with_fields(text.encode("utf-8", "surrogateescape"), {"retry_count": 3})
    assert with_fields(once, {"retry_count": 3}) == once


@pytest.mark.parametrize(
    ("text", "edited"),
    [
        ("{}", '{"n":1}'),
        (' { "a" : [ 1.0E+2 , -0.0 ] } \n', '{"a":[ 1.0E+2 , -0.0 ],"n":1}'),
        ('{"n":7,"a":2}', '{"n":1,"a":2}'),
        ('{"a":1,"a":2}', '{"a":2,"n":1}'),
        ('{"a":"\udcff"}', '{"a":"\udcff","n":1}'),
        ('{"a":"\\ud800"}', '{"a":"\\ud800","n":1}'),
        ('{"a":' + "9" * 6000 + "}", '{"a":' + "9" * 6000 + ',"n":1}'),
    ],
)
def test_edited_texts(text: str, edited: str) -> None:
    assert with_fields(text.encode("utf-8", "surrogateescape"), {"n": 1}) == edited.encode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "5", "null", "[]", '"a"', "{", "{}}", "{} {}", "{,}", '{"a"}', '{"a":}', '{"a" 1}', '{"a":1 "b":2}'),
        *(
            '{"a":1,}',
            "{a:1}",
            "{'a':1}",
            '{"a":NaN}',
            '{"a":-Infinity}',
            '{"a":01}',
            '{"a":"\n"}',
            '{"\x01":1}',
            '{"a":"\\x"}',
        ),
        '{"a":' + "[" * 100_000,
    ],
)
def test_what_is_no_object_cannot_be_edited(text: str) -> None:
    with pytest.raises(BadPayload, match=r"^the payload is not a JSON object: .*[^\n]\Z"):
        with_fields(text.encode(), {"n": 1})


SOUP = st.text(alphabet='{}[]":,\\u0159dcaeE+-. \nNaInf', max_size=40)


@given(
    st.binary(max_size=60) | SOUP.map(str.encode) | OBJECTS.map(lambda text: text.encode("utf-8", "surrogateescape"))
)
def test_bytes_of_any_kind_are_read_or_refused(raw: bytes) -> None:
    for reader in (decode, members, lambda text: with_fields(text, {"n": 1})):
        try:
            reader(raw)
        except ReliqError as error:
            assert type(error) is BadPayload  # noqa: PT017 - most examples raise nothing
    jid_of(raw)


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_any_text_can_be_stored(text: str) -> None:
    stored = text_of(text)
    stored.encode()
    assert len(stored) == len(text)
    assert text_of(stored) == stored
