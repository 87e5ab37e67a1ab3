"""What the manifest of a Deployment says of its workers: the numbers that a run is judged by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chaos.sites.base import Sizes, StageError

SHORT = {"-c": "concurrency", "-t": "timeout"}


def sizes(container: Mapping[str, Any]) -> Sizes:
    """Read the container that runs `reliq worker`. Raises StageError for a number that it does not say plainly.

    reliq's own defaults are not assumed: what says nothing here may still be said in a file of the image.
    """
    said = {**_environment(container), **_options(container)}

    def number(name: str) -> float:
        try:
            return float(said[name])
        except KeyError:
            missing = f"neither --{name.replace('_', '-')} nor RELIQ_{name.upper()}"
            raise StageError(f"the Deployment says {missing}: a run is judged by it, so write it there") from None
        except ValueError:
            raise StageError(f"the Deployment's {name} is {said[name]!r}, which is no number") from None

    beat = number("beat")
    unanswered = number("connect_timeout") + number("command_timeout") + number("longest_backoff")
    return Sizes(
        processes=int(number("processes")),
        concurrency=int(number("concurrency")),
        beat=beat,
        ttl=number("ttl"),
        confirm=number("confirm") if "confirm" in said else unanswered + beat,
        stop=number("timeout") + number("grace"),
    )


def _environment(container: Mapping[str, Any]) -> dict[str, str]:
    pairs = ((str(one.get("name", "")), one.get("value")) for one in container.get("env") or ())
    return {
        name.removeprefix("RELIQ_").lower(): str(value)
        for name, value in pairs
        if name.startswith("RELIQ_") and value is not None
    }


def _options(container: Mapping[str, Any]) -> dict[str, str]:
    words = [str(word) for word in (*(container.get("command") or ()), *(container.get("args") or ()))]
    found = {}
    for word, after in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name in SHORT or name.startswith("--"):
            found[SHORT.get(name, name.removeprefix("--").replace("-", "_"))] = value if equals else after
    return found
