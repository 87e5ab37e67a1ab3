"""The census: everything that lies in Redis at one moment, read by one script over a connection of its own."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Self, cast

import attrs
import redis

from reliq.store.keys import FENCED

SCRIPT = """
local read = {
  list = function(key) return redis.call('LRANGE', key, 0, -1) end,
  zset = function(key) return redis.call('ZRANGE', key, 0, -1) end,
  hash = function(key) return redis.call('HGETALL', key) end,
  set = function(key) return redis.call('SMEMBERS', key) end,
  string = function(key) return redis.call('GET', key) end,
}
local found = {}
for i, key in ipairs(redis.call('KEYS', '*')) do
  local kind = redis.call('TYPE', key).ok
  found[i] = {key, kind, redis.call('PTTL', key), read[kind](key)}
end
return found
"""


def _pairs(flat: list[bytes]) -> dict[str, bytes]:
    return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


@attrs.frozen
class Census:
    """What lay in Redis. Jobs are payloads by the place where they lie."""

    places: dict[str, list[bytes]]
    private: dict[str, list[bytes]]
    """By identity: what its private lists hold, over all queues."""
    beats: list[str]
    hearts: dict[str, bytes]
    """By identity: what its heartbeat key says."""
    crashes: dict[str, int]
    fleet: dict[str, bytes]
    suspects: dict[str, bytes]
    processed: int
    failed: int
    raw: list[list[Any]]

    @classmethod
    def of(cls, raw: list[list[Any]]) -> Self:
        """Sort what the script has found."""
        places: dict[str, list[bytes]] = {}
        private: dict[str, list[bytes]] = {}
        hearts: dict[str, bytes] = {}
        whole: dict[str, Any] = {}
        for key, _, _, value in raw:
            name = key.decode()
            first, _, rest = name.partition(":")
            if first == "private":
                places[name] = value
                private.setdefault(":".join(rest.split(":", 3)[:3]), []).extend(value)
            elif first in {"queue", "quarantine"} or name in {"schedule", "retry", "dead"}:
                places[name] = value
            elif first == "heartbeat":
                hearts[rest] = value
            else:
                whole[name] = value
        return cls(
            places=places,
            private=private,
            beats=[member.decode() for member in whole.get("beats", [])],
            hearts=hearts,
            crashes={jid: int(record.split(b":")[0]) for jid, record in _pairs(whole.get("crashes", [])).items()},
            fleet=_pairs(whole.get("fleet", [])),
            suspects=_pairs(whole.get("suspects", [])),
            processed=int(whole.get("stat:processed", 0)),
            failed=int(whole.get("stat:failed", 0)),
            raw=raw,
        )

    @classmethod
    def empty(cls) -> Self:
        """Before anything."""
        return cls.of([])

    def fenced(self, identity: str) -> bool:
        """Whether it has been declared dead, or has left."""
        return self.hearts.get(identity) == FENCED

    def payloads(self) -> Counter[bytes]:
        """How often each payload lies anywhere."""
        return Counter(payload for found in self.places.values() for payload in found)

    def waiting(self, *prefixes: str) -> list[bytes]:
        """The payloads in places whose names begin so."""
        return [payload for name, found in self.places.items() if name.startswith(prefixes) for payload in found]

    def as_client(self) -> redis.Redis:
        """The keys' names, types and lifetimes, for whoever asks a client for them."""
        return cast(redis.Redis, _Frozen(self.raw))


class _Frozen:
    """Answers the three questions that the leak check asks, from a census instead of from the server."""

    def __init__(self, raw: list[list[Any]]) -> None:
        self._keys = {key: (kind, ttl) for key, kind, ttl, _ in raw}

    def scan_iter(self, **_: Any) -> Iterator[bytes]:
        yield from self._keys

    def type(self, key: bytes) -> bytes:
        return bytes(self._keys[key][0])

    def pttl(self, key: bytes) -> int:
        return int(self._keys[key][1])


class Enumerator:
    """Takes censuses over the connection of a client that has only one."""

    def __init__(self, client: redis.Redis) -> None:
        assert client.connection is not None, "make the client with single_connection_client=True"
        self._client = client
        self._connection: Any = client.connection
        self._packed = self._connection.pack_command("EVALSHA", client.script_load(SCRIPT), 0)  # type: ignore[no-untyped-call]

    def take(self) -> Census:
        """Read everything, at one moment."""
        self._connection.send_packed_command(self._packed, check_health=False)
        try:
            found = self._connection.read_response(disconnect_on_error=False)
        except redis.exceptions.NoScriptError:  # somebody has flushed the scripts
            self._client.script_load(SCRIPT)
            return self.take()
        return Census.of(found)
