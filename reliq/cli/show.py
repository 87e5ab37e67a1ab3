"""`reliq show`: where a job is, and what happened to it."""

from __future__ import annotations

import datetime
import json
import time
from typing import Any

import attrs
import click

from reliq.cli.common import store_options
from reliq.cli.settings import gather
from reliq.config import Config
from reliq.errors import BadPayload
from reliq.job import decode
from reliq.lookup import Found, Lookup, Place
from reliq.store.opening import Store

UNKNOWN = 1
LONGEST = 200
"""Characters of arguments that are shown to people."""


@click.command()
@click.argument("jid")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--within", type=float, default=10.0, show_default=True, metavar="SECONDS", help="How long to look through queues."
)
@store_options
def show(jid: str, *, as_json: bool, within: float, **given: Any) -> int:
    """Show where the job JID is, and what happened to it.

    Looks into the lists of all processes, the sets, and the queues, and changes nothing. What happened is known of the
    jobs that timeline_rate has chosen. Exit code 1: nothing is known of it.
    """
    settings = gather(given).config()
    store = Store(settings)
    lookup = Lookup(store)
    try:
        found = lookup.find(jid, within)
    finally:
        lookup.close()
        store.close()
    if as_json:
        click.echo(json.dumps(_as_json(jid, found)))
    else:
        click.echo(_text(jid, found, settings))
    return 0 if found.places or found.events or found.crashes else UNKNOWN


def _as_json(jid: str, found: Found) -> dict[str, Any]:
    places = [attrs.asdict(place) | {"payload": place.payload.decode("utf-8", "replace")} for place in found.places]
    events = [attrs.asdict(event) for event in found.events]
    return {"jid": jid, "places": places, "crashes": found.crashes, "timeline": events, "complete": found.complete}


def _text(jid: str, found: Found, settings: Config) -> str:
    lines = []
    for place in found.places:
        lines += [_where(place), *_contents(place.payload)]
    if not found.places:
        lines.append(_nowhere(found, settings))
    if found.crashes:
        lines.append(f"crashes of processes that ran it: {found.crashes}, the limit is {settings.crash_limit}")
    if not found.complete:
        lines.append("not every queue was looked through: it may be in one of them; give more time (--within)")
    return "\n".join([f"job {jid}", *(f"  {line}" for line in lines), *_rows(found)])


def _where(place: Place) -> str:
    match place.kind:
        case "queue":
            return f"waits in queue {place.queue}, behind {place.ahead} others"
        case "quarantine":
            return f"waits to run alone, in the quarantine of {place.queue}: its process has died twice"
        case "private" if not place.alive:
            return f"was held by {place.identity}, which is dead: a reaper is about to bring it back to {place.queue}"
        case "private" if place.since is not None:
            return f"runs on {place.identity} since {_moment(place.since)}, from queue {place.queue}"
        case "private":
            return f"is held by {place.identity}, from queue {place.queue}: it has just begun, or is about to"
        case "dead":
            return f"is dead since {_moment(place.at)}: nobody runs it again by himself"
        case "retry":
            return f"has failed and is tried again at {_moment(place.at)}"
        case _:
            return f"is scheduled for {_moment(place.at)}"


def _contents(payload: bytes) -> list[str]:
    try:
        job = decode(payload)
    except BadPayload as error:
        return [f"cannot be read: {error}"]
    arguments = ", ".join([*map(repr, job.args), *(f"{name}={value!r}" for name, value in job.kwargs.items())])
    if len(arguments) > LONGEST:
        arguments = arguments[: LONGEST - 3] + "..."
    lines = [f"{job.name}({arguments})"]
    if job.created_at is not None:
        lines.append(f"created {_moment(job.created_at)}")
    kind = job.fields.get("error_class")
    if kind is not None:
        retries = 0 if job.retry_count is None else job.retry_count + 1
        lines.append(f"failed {retries} times, the last time with {kind}: {job.fields.get('error_message')}")
    return lines


def _nowhere(found: Found, settings: Config) -> str:
    last = found.events[-1].what if found.events else None
    if last in ("done", "dropped"):
        return "is in no queue any more"
    if found.events or found.crashes:
        return "is in no queue: it has ended since, or moved while it was looked for; ask again"
    if settings.timeline_rate:
        return "nothing is known of it: it has ended, or there was never one with this id"
    return "nothing is known of it: it has ended, or there was never one with this id (timeline_rate is 0)"


def _rows(found: Found) -> list[str]:
    if not found.events:
        return []
    rows = [("when (UTC)", "what", "attempt", "seconds", "process", "why")]
    for event in found.events:
        attempt = "" if event.attempt is None else str(event.attempt)
        seconds = "" if event.seconds is None else f"{event.seconds:.3f}"
        why = " ".join(event.text.split())
        rows.append((_moment(event.at), event.what, attempt, seconds, event.identity, why))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    padded = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in rows]
    return ["", *(line.rstrip() for line in padded)]


def _moment(at: float | None) -> str:
    if at is None:
        return "an unknown time"
    ago = time.time() - at
    try:
        text = datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return f"{at:g}"
    return f"{text} ({_span(ago)} ago)" if ago >= 0 else f"{text} (in {_span(-ago)})"


def _span(seconds: float) -> str:
    for unit, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"
