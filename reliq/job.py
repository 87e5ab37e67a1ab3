"""The payload: a job as JSON text, in and out, in Sidekiq's own fields.

Bytes that go back into Redis are edited as text (`reliq.edit`), never decoded and encoded again: a 300-digit
integer or a float that another language wrote in its own way stays what it was.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import NoneType
from typing import Any

import attrs
import orjson

from reliq.errors import BadArguments, BadPayload, ConfigError, PayloadTooLarge

MAX_PAYLOAD = 1024 * 1024
"""Bytes of one payload, by default."""

_CLASS = b'"class":"'
_SPACED_CLASS = re.compile(rb'"class"\s*:\s*"')
_DIGITS = bytes(48 if 48 <= code <= 57 else code for code in range(256))
_LONG_NUMBER = b"0" * 19
_MAX_DEPTH = 200  # orjson goes no deeper than 254


@attrs.define
class Job:
    """A payload that was read; nobody changes it. (Frozen, attrs would take three times as long to make one.)

    `fields` is the whole object. What only some need of it is looked at when they ask.
    """

    name: str
    args: list[Any]
    kwargs: dict[str, Any]
    jid: str
    fields: dict[str, Any]

    @property
    def queue(self) -> str | None:
        """The queue it names, None if it names none."""
        queue = self.fields.get("queue")
        return queue if isinstance(queue, str) else None

    @property
    def retry(self) -> bool | int | None:
        """What it says of retries, None if nothing."""
        return _retry_of(self.fields.get("retry"))

    @property
    def retry_count(self) -> int | None:
        """None until the first failure, 0 after it."""
        count = self.fields.get("retry_count")
        return count if type(count) is int and 0 <= count < 2**31 else None

    @property
    def created_at(self) -> float | None:
        """Epoch seconds, whatever unit the writer used."""
        return _seconds(self.fields.get("created_at"))

    @property
    def enqueued_at(self) -> float | None:
        """Epoch seconds, whatever unit the writer used."""
        return _seconds(self.fields.get("enqueued_at"))


def new_jid() -> str:
    """Return a fresh job id: 24 hexadecimal characters."""
    return os.urandom(12).hex()


def new_jids() -> Iterator[str]:
    """Yield fresh job ids without end: the system is asked for its randomness once for some dozens of them."""
    while True:
        digits = os.urandom(12 * 64).hex()
        for start in range(0, len(digits), 24):
            yield digits[start : start + 24]


def check_queue(name: object) -> str:
    """Return the queue name, or raise ConfigError: 1 to 128 printable characters, no braces."""
    if not isinstance(name, str) or not 1 <= len(name) <= 128 or not name.isprintable():
        raise ConfigError(f"queue name {_cut(repr(name))}: use 1 to 128 printable characters")
    if "{" in name or "}" in name:
        raise ConfigError(f"queue name {name!r}: braces are not allowed, they choose the slot on a Redis cluster")
    return name


def check_name(name: object) -> str:
    """Return the job's name, or raise ConfigError: printable characters, at least one."""
    if not isinstance(name, str) or not name or not name.isprintable() or len(name) > 500:
        raise ConfigError(f"job name {_cut(repr(name))}: use 1 to 500 printable characters")
    return name


def check_retry(retry: bool | int) -> bool | int:
    """Return the retry rule, or raise ConfigError: True, False, or a number of retries."""
    if not isinstance(retry, bool) and not (isinstance(retry, int) and retry >= 0):
        raise ConfigError(f"retry = {retry!r}; give True, False or a number of retries")
    return retry


def encode(
    name: str,
    args: list[Any] | tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    jid: str,
    queue: str,
    retry: bool | int,
    now: float,
    scheduled: bool = False,
    max_payload: int = MAX_PAYLOAD,
) -> bytes:
    """Return the payload of a new job.

    Raises BadArguments for what JSON cannot carry unchanged, PayloadTooLarge over `max_payload` bytes.
    """
    if not _carried(args, 0) or (kwargs and not _carried(kwargs.values(), 0)):
        check_arguments(args, kwargs)
    fields: dict[str, Any] = {"class": name, "args": args}
    if kwargs:
        fields["kwargs"] = kwargs
    fields["jid"] = jid
    fields["queue"] = queue
    fields["retry"] = retry
    fields["created_at"] = now
    if not scheduled:
        fields["enqueued_at"] = now
    try:
        payload = orjson.dumps(fields)
    except (orjson.JSONEncodeError, RecursionError) as error:
        check_arguments(args, kwargs)
        raise BadArguments(f"job {name}: {error}") from None
    if len(payload) > max_payload:
        raise PayloadTooLarge(
            f"job {name}: the payload has {len(payload):,} bytes, the limit is {max_payload:,}; "
            "store the data elsewhere and pass a reference"
        )
    return payload


def _carried(values: Iterable[Any], depth: int) -> bool:
    """Whether JSON carries these unchanged, if orjson does not refuse them; False leaves it to `check_arguments`.

    On the way of every job: so it builds no names of places, and leaves to orjson what orjson refuses by itself, which
    are large integers, lone surrogates and keys that are no strings.
    """
    if depth > _MAX_DEPTH:
        return False
    for value in values:
        kind = type(value)
        if kind in _SURE:
            continue
        if kind is list or kind is tuple:
            if not _carried(value, depth + 1):
                return False
        elif kind is dict:
            if not _carried(value.values(), depth + 1):
                return False
        elif kind is not float or not math.isfinite(value):
            return False
    return True


def check_arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise BadArguments, naming the place, unless JSON carries every argument unchanged."""
    for position, value in enumerate(args, 1):
        _check_value(value, f"argument {position}", 0)
    for key, value in kwargs.items():
        _check_value(value, f"argument {_cut(key)}", 0)


def _check_value(value: Any, place: str, depth: int) -> None:
    # Exact types only: an enum or a subclass would arrive as something else than it was sent.
    kind = type(value)
    if kind in _PLAIN:
        return
    check = _CHECKS.get(kind)
    if check is None:
        raise BadArguments(f"{place}: {kind.__name__} is not JSON; pass a string, number, list, dict, bool or None")
    if depth > _MAX_DEPTH:
        raise BadArguments(f"{_cut(place)}: nested more than {_MAX_DEPTH} levels deep")
    check(value, place, depth)


def _check_integer(value: int, place: str, _: int) -> None:
    if not -(2**63) <= value < 2**64:
        raise BadArguments(f"{place}: the integer does not fit into 64 bits; pass it as a string")


def _check_float(value: float, place: str, _: int) -> None:
    if not math.isfinite(value):
        raise BadArguments(f"{place}: {value} is not JSON; pass None or a string")


def _check_list(value: Sequence[Any], place: str, depth: int) -> None:
    for index, item in enumerate(value):
        _check_value(item, f"{place}[{index}]", depth + 1)


def _check_dict(value: dict[Any, Any], place: str, depth: int) -> None:
    for key, item in value.items():
        if type(key) is not str:
            raise BadArguments(f"{place}: the key {_cut(repr(key))} is not a string, as JSON wants it")
        _check_text(key, place, depth)
        _check_value(item, f"{place}[{_cut(repr(key))}]", depth + 1)


def _check_text(value: str, place: str, _: int) -> None:
    if not _is_text(value):
        raise BadArguments(f"{place}: a lone surrogate is not text; decode the string properly first")


def _cut(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."


def _is_text(value: str) -> bool:
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


_PLAIN = frozenset({NoneType, bool})
_SURE = frozenset({NoneType, bool, int, str})
_CHECKS: dict[type, Callable[[Any, str, int], None]] = {
    int: _check_integer,
    float: _check_float,
    str: _check_text,
    list: _check_list,
    tuple: _check_list,
    dict: _check_dict,
}


def decode(payload: bytes) -> Job:
    """Return the job that a payload carries.

    Raises BadPayload, with a reason that an operator understands, for anything else.
    """
    data = _load(payload)
    if not isinstance(data, dict):
        raise BadPayload(f"the payload is a JSON {type(data).__name__}, not an object")
    name, args, kwargs = data.get("class"), data.get("args", []), data.get("kwargs")
    if not isinstance(name, str) or not name:
        raise BadPayload("the payload has no `class`, so nothing says which job to run")
    if not isinstance(args, list):
        raise BadPayload(f"`args` is a {type(args).__name__}, not a list")
    if kwargs is not None and not isinstance(kwargs, dict):
        raise BadPayload(f"`kwargs` is a {type(kwargs).__name__}, not an object")
    if not (name.isascii() or _is_text(name)):
        raise BadPayload("`class` holds half a character (a lone surrogate), so no job can have that name")
    jid = data.get("jid")
    if not isinstance(jid, str) or not jid or not (jid.isascii() or _is_text(jid)):
        jid = anonymous_jid(payload)
    return Job(name, args, kwargs or {}, jid, data)


def name_text(payload: bytes) -> bytes:
    """Return the text of the job's name, as it most likely is: of the first `class` that stands there; empty if none.

    For estimates: it takes a tenth of the time that `decode` does.
    """
    at = payload.find(_CLASS)
    if at >= 0:
        at += len(_CLASS)
    else:
        found = _SPACED_CLASS.search(payload)
        if found is None:
            return b""
        at = found.end()
    return payload[at : payload.find(b'"', at)]


def jid_of(payload: bytes) -> str:
    """Return the job id of a payload, or the stand-in that the scripts use for one that has none."""
    try:
        return decode(payload).jid
    except BadPayload:
        return anonymous_jid(payload)


def anonymous_jid(payload: bytes) -> str:
    """Return the stand-in for the id of a payload without a usable one: its SHA-1, as Lua's sha1hex gives it."""
    return hashlib.sha1(payload, usedforsecurity=False).hexdigest()


def _load(payload: bytes) -> Any:
    try:
        data = orjson.loads(payload)
    except orjson.JSONDecodeError:
        pass  # the slow reader knows more numbers, and says better what is wrong
    else:
        # orjson turns integers beyond 64 bits into floats; the standard library keeps them whole. Whether there are any
        # is asked where it may matter. In two steps of C: a regular expression takes longer than all the reading.
        if _is_plain(data) or _LONG_NUMBER not in payload.translate(_DIGITS):
            return data
    try:
        return json.loads(payload.decode(), parse_constant=refuse_constant)
    except UnicodeDecodeError as error:
        raise BadPayload(f"the payload is not UTF-8 at byte {error.start}") from None
    except (ValueError, RecursionError) as error:
        raise BadPayload(f"the payload is not JSON: {error}") from None


def _is_plain(data: Any) -> bool:
    """Whether no argument can be an integer that became a float, as far as can be seen in no time."""
    if type(data) is not dict or "kwargs" in data:
        return False
    args = data.get("args")
    return not args or (type(args) is list and _SURE.issuperset(map(type, args)))


def refuse_constant(text: str) -> Any:
    """Raise ValueError: what a reader of JSON calls for NaN and its like."""
    raise ValueError(f"{text} is not a JSON value")


def _retry_of(value: object) -> bool | int | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and value >= 0:
        return value
    return None


def _seconds(value: object) -> float | None:
    # Sidekiq 8 writes integer milliseconds, 6 and 7 float seconds.
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return value
    return value / 1000.0 if isinstance(value, int) and abs(value) < 2**63 else None


def text_of(value: str) -> str:
    """Return the text with whatever UTF-8 cannot carry replaced, so that it can be stored."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()
