"""Dramatiq: its default middleware and settings, no results. It has no call for many messages at once."""

from __future__ import annotations

from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.apps import work

dramatiq.set_broker(RedisBroker(url=work.URL))


@dramatiq.actor
def count(number: int) -> None:
    """See work.py, here and below."""
    work.count(number)


@dramatiq.actor
def pause(number: int) -> None:
    work.pause(number)


@dramatiq.actor
def stamp(number: int, sent: int) -> None:
    work.stamp(number, sent)


@dramatiq.actor
def warm(number: int) -> None:
    work.warm(number)


@dramatiq.actor
def hold(token: str) -> None:
    work.hold(token)


JOBS: dict[str, Any] = {"count": count, "pause": pause, "stamp": stamp, "warm": warm, "hold": hold}


def send(name: str, *args: Any) -> None:
    """Enqueue one message."""
    JOBS[name].send(*args)
