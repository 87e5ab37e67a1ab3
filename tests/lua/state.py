"""State tables: the whole keyspace before a call, its reply, and the whole keyspace after it; then the same call again.

A keyspace is a dict of names and contents: a string is a `str`, a list a `list` (its left end first), a set a `set`, a
hash a `dict`, a sorted set `Scores`; `Expiring` puts a lifetime around one of them. Every text is a `str`; bytes that
are no UTF-8 are surrogate escapes in it.

Moments of the server's clock stand in a text as `<s>`, `<f>`, `<ms>` or `<us>`: whole seconds, seconds with a fraction,
milliseconds, microseconds; `<ms-500>` is half a second ago. A keyspace is written as of the server's TIME at the start;
what is read later must lie between that and the server's TIME at the end.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

import attrs
import pytest
import redis

from reliq.errors import Refused
from reliq.store.keys import Keyspace
from reliq.store.scripts import Scripts

ID = "web:7:0123456789ab"
"""The identity that the tables are about."""

OTHER = "web:8:ba9876543210"
"""An identity that no call may touch."""

DAY_MS = 86_400_000
"""How long a verdict and a turn number are kept."""

MOMENT = re.compile(r"<(s|f|ms|us)([+-]\d+)?>")
MICROSECONDS = {"s": 1_000_000, "f": 1_000_000, "ms": 1000, "us": 1}


@attrs.frozen
class Scores:
    """A sorted set: members and their scores; a score may be a moment."""

    members: dict[str, float | str]


@attrs.frozen
class Expiring:
    """A key that has this many milliseconds left; the time that a case took may be gone from them."""

    content: "Content"
    ms: int


@attrs.frozen
class Elapsed:
    """An integer reply in whole milliseconds that may be larger by the time that the case took."""

    ms: int


Content = str | list[str] | set[str] | dict[str, str] | Scores | Expiring
State = Mapping[str, Content]


@attrs.frozen
class Case:
    """One row: `call` holds the arguments that differ from the usual ones of the script's table.

    `after` is the keyspace after the call, by default the one before; `again` the reply to the same call again, by
    default the first reply; `finally_` the keyspace after that, by default the one after the first call. A refused
    call's reply is written `"refused: CODE"`. `broken` says that the keyspace is not as the key table wants it; it is
    emptied in the end.
    """

    name: str
    before: State
    reply: Any
    after: State | None = None
    call: dict[str, Any] = attrs.Factory(dict)
    again: Any = ...
    finally_: State | None = None
    broken: bool = False


def table(cases: list[Case]) -> pytest.MarkDecorator:
    """Run a test for each case, with room in the server and with none: a full server changes nothing."""
    rows = [pytest.param(case, full, id=case.name + " (full)" * full) for case in cases for full in (False, True)]
    return pytest.mark.parametrize(("case", "full"), rows)


def with_room(cases: list[Case]) -> pytest.MarkDecorator:
    """Run a test for each case, in a server with room."""
    return pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in cases])


def raw(*texts: str) -> list[bytes]:
    """Texts as the bytes that they stand for."""
    return [text.encode("utf-8", "surrogateescape") for text in texts]


def plain(reply: Any) -> Any:
    """A reply with texts instead of bytes."""
    if isinstance(reply, list):
        return [plain(part) for part in reply]
    return reply.decode("utf-8", "surrogateescape") if isinstance(reply, bytes) else reply


@attrs.frozen
class Span:
    """From when the keyspace was written to when it was read, in microseconds of the server's clock."""

    start: int
    end: int

    def write(self, text: str) -> str:
        """The text with its moments as numbers."""
        return MOMENT.sub(lambda found: self._number(found[1], self._at(self.start, found[1], found[2])), text)

    def alike(self, actual: Any, expected: Any) -> Any:
        """`actual`, with everything that says the same as in `expected` put as it stands there."""
        match expected, actual:
            case str(), str():
                return self._text(actual, expected)
            case str(), float():
                return expected if self._text(f"{actual:.6f}", expected) == expected else actual
            case list(), list() if len(actual) == len(expected):
                return [self.alike(*pair) for pair in zip(actual, expected, strict=True)]
            case set(), set():
                return {self._member(text, expected) for text in actual}
            case dict(), dict():
                names = {name: self._member(name, expected) for name in actual}
                return {names[name]: self.alike(value, expected.get(names[name])) for name, value in actual.items()}
            case Scores(), Scores():
                return Scores(self.alike(actual.members, expected.members))
            case Expiring(), Expiring():
                fine = 0 <= expected.ms - actual.ms <= self._ms + 1
                return Expiring(self.alike(actual.content, expected.content), expected.ms if fine else actual.ms)
            case Elapsed(), int():
                return expected if -1 <= actual - expected.ms <= self._ms + 1 else actual
        return actual

    @property
    def _ms(self) -> float:
        return (self.end - self.start) / 1000

    def _member(self, actual: str, expected: dict[str, Any] | set[str]) -> str:
        if actual in expected:
            return actual
        return next((text for text in expected if self._text(actual, text) == text), actual)

    def _text(self, actual: str, expected: str) -> str:
        literal, *rest = MOMENT.split(expected)
        pattern, moments = re.escape(literal), list(zip(rest[::3], rest[1::3], strict=True))
        for following in rest[2::3]:
            pattern += r"(\d+(?:\.\d+)?)" + re.escape(following)
        found = re.fullmatch(pattern, actual)
        if not found:
            return actual
        fine = [
            math.floor(self._at(self.start, unit, offset)) - 1e-6 <= float(number) <= self._at(self.end, unit, offset)
            for number, (unit, offset) in zip(found.groups(), moments, strict=True)
        ]
        return expected if all(fine) else actual

    @staticmethod
    def _at(micros: int, unit: str, offset: str | None) -> float:
        return micros / MICROSECONDS[unit] + int(offset or 0)

    @staticmethod
    def _number(unit: str, value: float) -> str:
        return f"{value:.6f}" if unit == "f" else str(math.floor(value))


class Stage:
    """An empty server, and the scripts to be played on it."""

    def __init__(self, client: redis.Redis, scripts: Scripts) -> None:
        self.client = client
        self.scripts = scripts
        self.keys = Keyspace()

    def play(self, case: Case, script: Callable[..., Any], usual: dict[str, Any], *, full: bool = False) -> None:
        """Play a case: write the keyspace, call twice, and compare replies and keyspaces."""
        start = self._micros()
        self._write(case.before, Span(start, start))
        after = case.before if case.after is None else case.after
        steps = [
            (case.reply, after),
            (case.reply if case.again is ... else case.again, after if case.finally_ is None else case.finally_),
        ]
        if full:
            self.client.config_set("maxmemory", 1)
        try:
            for reply, state in steps:
                answer = self._call(script, usual | case.call)
                found = self.keyspace()
                span = Span(start, self._micros())
                assert span.alike(answer, reply) == reply
                assert span.alike(found, state) == state
        finally:
            self.client.config_set("maxmemory", 0)
            if case.broken:
                self.client.flushall()

    def keyspace(self) -> State:
        """Everything that the server holds."""
        names = sorted(cast(list[bytes], self.client.keys()))
        return {plain(name): self._read(name) for name in names}

    @staticmethod
    def _call(script: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        try:
            return plain(script(**arguments))
        except Refused as refusal:
            return f"refused: {refusal.code}"

    def _micros(self) -> int:
        seconds, micros = self.client.time()
        return seconds * 1_000_000 + micros

    def _write(self, state: State, span: Span) -> None:
        for name, content in state.items():
            command = self._command(content.content if isinstance(content, Expiring) else content)
            self._do(command[0], name, *raw(*map(span.write, command[1:])))
            if isinstance(content, Expiring):
                self._do("PEXPIRE", name, str(content.ms))

    @staticmethod
    def _command(content: Content) -> list[str]:
        match content:
            case str():
                return ["SET", content]
            case list():
                return ["RPUSH", *content]
            case set():
                return ["SADD", *content]
            case dict():
                return ["HSET", *(part for pair in content.items() for part in pair)]
            case Scores():
                return ["ZADD", *(str(part) for member, score in content.members.items() for part in (score, member))]
            case Expiring():
                raise TypeError("Expiring inside Expiring")

    def _do(self, *command: str | bytes) -> Any:
        return self.client.execute_command(*command)  # type: ignore[no-untyped-call]

    def _read(self, name: bytes) -> Content:
        kind = plain(self.client.type(name))
        content: Content
        if kind == "string":
            content = plain(self.client.get(name))
        elif kind == "list":
            content = plain(self.client.lrange(name, 0, -1))
        elif kind == "set":
            content = set(plain(list(cast(set[bytes], self.client.smembers(name)))))
        elif kind == "hash":
            pairs = cast(dict[bytes, bytes], self.client.hgetall(name))
            content = {plain(field): plain(value) for field, value in pairs.items()}
        else:
            scored = cast(list[tuple[bytes, float]], self.client.zrange(name, 0, -1, withscores=True))
            content = Scores({plain(member): score for member, score in scored})
        left = self.client.pttl(name)
        return content if left < 0 else Expiring(content, left)
