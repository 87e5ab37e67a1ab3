"""No queue library: redis-py's LPUSH of a payload as reliq writes it. What enqueueing cannot cost less than."""

from __future__ import annotations

from typing import Any

import redis

from bench.apps import work

PAYLOAD = (
    b'{"class":"count","args":[12345],"jid":"0123456789abcdef01234567","queue":"default","retry":true,'
    b'"created_at":1764061234.567891,"enqueued_at":1764061234.567891}'
)

client = redis.Redis.from_url(work.URL)


def send(_: str, *__: Any) -> None:
    """Push one payload."""
    client.lpush("queue:default", PAYLOAD)


def send_many(_: str, calls: list[tuple[Any, ...]]) -> None:
    """Push many, a thousand per command."""
    for first in range(0, len(calls), 1000):
        client.lpush("queue:default", *[PAYLOAD] * len(calls[first : first + 1000]))
