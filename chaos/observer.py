"""The observer: looks at Redis directly, past all proxies, and changes nothing.

It knows what docs/protocol.md tells everybody: the keys, and what lies in them.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import attrs
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from chaos.jobs import digest
from chaos.records import now

CENSUS = """
local homes = {}
local function list(key, kind)
  local found = redis.call('LRANGE', key, 0, -1)
  if #found > 0 then homes[#homes + 1] = {kind, found} end
end
local names = redis.call('SMEMBERS', KEYS[1])
local identities = redis.call('ZRANGE', KEYS[2], 0, -1)
for _, name in ipairs(names) do
  list('queue:' .. name, 'queue:' .. name)
  list('quarantine:' .. name, 'quarantine:' .. name)
  for _, identity in ipairs(identities) do
    list('private:' .. identity .. ':' .. name, 'private:' .. identity)
  end
end
for _, set in ipairs({'schedule', 'retry', 'dead'}) do
  local found = redis.call('ZRANGE', set, 0, -1)
  if #found > 0 then homes[#homes + 1] = {set, found} end
end
return homes
"""
"""One script, so one instant: every home of every job. It only reads."""

OWN = "chaos-observer"
"""The name of the connections that only look."""

KEY_TABLE = Path(__file__).resolve().parents[1] / "docs" / "protocol.md"
_WORDS = {
    "IDENTITY": r"[^:\s]+:\d+:[0-9a-f]{12}",
    "NAME": r"[^{}]{1,128}",
    "PRODUCER": r"\S+",
    "DUTY": r"[a-z-]+",
    "JID": r"\S+",
    "DATE": r"\d{4}-\d\d-\d\d",
}
_ENDLESS = {"lasting", "limits", "until settled", "until success"}


@attrs.frozen
class Census:
    """Where every job was at one instant: token to its homes, and to the text of its arguments in each."""

    homes: dict[int, list[str]]
    arguments: dict[int, set[bytes]]
    strange: int
    """Payloads that are no job of this run."""

    def by_kind(self) -> dict[str, int]:
        """How many jobs lie in each kind of home: queue, private, quarantine, schedule, retry, dead."""
        counts: dict[str, int] = defaultdict(int)
        for homes in self.homes.values():
            for home in homes:
                counts[home.split(":")[0]] += 1
        return dict(counts)


class Observer:
    """A connection of its own to the server under test. Its methods raise redis.RedisError while that is away."""

    def __init__(self, timeout: float = 5.0, url: str = "", **connection: Any) -> None:
        connection |= {"client_name": OWN, "socket_timeout": timeout, "retry": Retry(NoBackoff(), 0)}
        self.client = redis.Redis.from_url(url, **connection) if url else redis.Redis(**connection)
        self._registered: frozenset[int] = frozenset()
        self._asked_at = 0.0

    def close(self) -> None:
        """Close the connection."""
        self.client.close()

    def registered(self) -> frozenset[int]:
        """Return the process ids of the workers that are in the fleet and beat; the last known while Redis is away."""
        if now() - self._asked_at > 0.1:
            self._asked_at = now()
            try:
                self._registered = frozenset(self._ask())
            except redis.RedisError:
                self._asked_at += 0.5  # away: a frozen server makes every question wait
        return self._registered

    def _ask(self) -> Iterable[int]:
        fleet = cast("dict[bytes, bytes]", self.client.hgetall("fleet"))
        if not fleet:
            return []
        beats = cast("list[bytes | None]", self.client.mget([b"heartbeat:" + identity for identity in fleet]))
        pairs = zip(fleet.values(), beats, strict=True)
        return [json.loads(entry)["pid"] for entry, beat in pairs if beat not in (None, b"fenced")]

    def census(self) -> Census:
        """Count every job's homes, at one instant."""
        found = cast("list[Any]", self.client.eval(CENSUS, 2, "queues", "beats"))
        homes: dict[int, list[str]] = defaultdict(list)
        arguments: dict[int, set[bytes]] = defaultdict(set)
        strange = 0
        for kind, payloads in found:
            for payload in payloads:
                token, text = token_of(payload)
                if token is None:
                    strange += 1
                    continue
                homes[token].append(kind.decode())
                arguments[token].add(text)
        return Census(dict(homes), dict(arguments), strange)

    def counter(self, name: str) -> int:
        """Return one of reliq's counters, as `processed`."""
        return int(cast("bytes | None", self.client.get(f"stat:{name}")) or 0)

    def clients(self) -> list[str]:
        """Return what is connected besides observers, one line each."""
        return [f"{one['id']} {one['name']} {one['cmd']}" for one in self.client.client_list() if one["name"] != OWN]

    def fenced(self) -> list[str]:
        """Return the identities that are dead or have left."""
        known = [identity.decode() for identity in cast("list[bytes]", self.client.zrange("beats", 0, -1))]
        beats = cast("list[bytes | None]", self.client.mget([f"heartbeat:{one}" for one in known])) if known else []
        return [one for one, beat in zip(known, beats, strict=True) if beat == b"fenced"]

    def walk(self) -> int:
        """Return how many identities the reapers still look after, living and dead."""
        return self.client.zcard("beats")

    def strange_keys(self) -> list[str]:
        """Return what is wrong with the keys that are there, one line each, by the key table of the documents."""
        table = key_table()
        wrong = []
        for key in self.client.scan_iter(count=1000):
            kind = cast(bytes, self.client.type(key)).decode()
            ends = self.client.pttl(key)
            rows = [row for row in table if row.pattern.fullmatch(key.decode())]
            row = next((row for row in rows if row.type == kind), None)
            if kind == "none":
                continue  # it expired since the scan
            if not rows:
                wrong.append(f"{key.decode()}: the key table does not know it")
            elif row is None:
                wrong.append(f"{key.decode()}: is a {kind}, the key table says {rows[0].type}")
            elif (row.lifetime in _ENDLESS) != (ends == -1):
                wrong.append(f"{key.decode()}: ends in {ends} ms, the key table says {row.lifetime}")
            elif row.name.startswith("private:"):
                wrong.append(f"{key.decode()}: a private list is left")
        return wrong


@attrs.frozen
class Row:
    """One row of the key table."""

    name: str
    type: str
    lifetime: str

    @property
    def pattern(self) -> re.Pattern[str]:
        """What the key's full name looks like."""
        words = [_WORDS.get(word, re.escape(word)) for word in re.split(r"([A-Z]+)", self.name)]
        return re.compile("".join(words))


def key_table() -> list[Row]:
    """Return the rows of the tables of keys in docs/protocol.md. Raises ValueError if there are none."""
    text, _, _ = KEY_TABLE.read_text(encoding="utf-8").partition("\n## Payload\n")
    cells = re.findall(r"^\| `([^`]+)` \| (string|list|set|zset|hash) \| ([^|]+) \|", text, re.MULTILINE)
    if not cells:
        raise ValueError(f"no key table in {KEY_TABLE}")
    return [Row(name, kind, lifetime.strip()) for name, kind, lifetime in cells]


def token_of(payload: bytes) -> tuple[int | None, bytes]:
    """Return a payload's token and the text of its arguments, byte for byte; (None, b"") if it has none."""
    text = arguments_of(payload)
    found = re.match(rb"\[\s*(\d+)", text)
    return (int(found[1]) if found else None), text


def arguments_of(payload: bytes) -> bytes:
    """Return the text of `args` as it stands in a payload; empty if it is not there."""
    head = re.search(rb'"args"\s*:\s*(?=\[)', payload)
    if head is None:
        return b""
    depth, quoted, escaped = 0, False, False
    for at in range(head.end(), len(payload)):
        byte = payload[at]
        if quoted:
            quoted = escaped or byte != 0x22
            escaped = byte == 0x5C and not escaped
        elif byte == 0x22:
            quoted, escaped = True, False
        elif byte in b"[{":
            depth += 1
        elif byte in b"]}":
            depth -= 1
            if depth == 0:
                return payload[head.end() : at + 1]
    return b""


def differs(text: bytes, expected: str) -> bool:
    """Whether arguments, as text, are others than those with this digest."""
    try:
        return digest(json.loads(text)) != expected
    except ValueError:
        return True
