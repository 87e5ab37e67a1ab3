"""Huey: its default settings. Tasks return nothing, so it stores no results. No call for many at once."""

from __future__ import annotations

from typing import Any

from huey import RedisHuey

from bench.apps import work

huey = RedisHuey("bench", url=work.URL)


@huey.task()
def count(number: int) -> None:
    """See work.py, here and below."""
    work.count(number)


@huey.task()
def pause(number: int) -> None:
    work.pause(number)


@huey.task()
def stamp(number: int, sent: int) -> None:
    work.stamp(number, sent)


@huey.task()
def warm(number: int) -> None:
    work.warm(number)


@huey.task()
def hold(token: str) -> None:
    work.hold(token)


JOBS: dict[str, Any] = {"count": count, "pause": pause, "stamp": stamp, "warm": warm, "hold": hold}


def send(name: str, *args: Any) -> None:
    """Enqueue one task."""
    JOBS[name](*args)
