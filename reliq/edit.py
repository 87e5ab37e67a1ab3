"""Edit: fields of a payload read and set as text, so that all the others stay as whoever wrote them wrote them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import orjson

from reliq.errors import BadPayload
from reliq.job import refuse_constant

_SPACE = re.compile(r"[ \t\r\n]*")
_scanner = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=refuse_constant)


def members(payload: bytes) -> dict[str, str]:
    """Return each top-level member of a JSON object as the text it was written in.

    Bytes that are no UTF-8 are kept as surrogate escapes. Of a key that comes twice the last one counts, as in
    every common reader. Raises BadPayload if the text is no JSON object.
    """
    return {key: value for key, (_, value) in _scan(payload).items()}


def with_fields(payload: bytes, fields: Mapping[str, object]) -> bytes:
    """Return the payload with these top-level fields set; the text of all others, keys too, stays as it was.

    Raises BadPayload if the text is no JSON object.
    """
    texts = _scan(payload)
    for key, value in fields.items():
        texts[key] = orjson.dumps(key).decode(), orjson.dumps(value).decode()
    body = ",".join(f"{key}:{value}" for key, value in texts.values())
    return f"{{{body}}}".encode("utf-8", "surrogateescape")


def _scan(payload: bytes) -> dict[str, tuple[str, str]]:
    text = payload.decode("utf-8", "surrogateescape")
    try:
        return _scan_text(text)
    except (ValueError, IndexError, RecursionError, StopIteration) as error:
        raise BadPayload(f"the payload is not a JSON object: {error}") from None


def _scan_text(text: str) -> dict[str, tuple[str, str]]:
    """Return the texts of each member's key and value, by the key."""
    found: dict[str, tuple[str, str]] = {}
    at = _skip(text, 0)
    if text[at] != "{":
        raise ValueError("no opening brace")
    at = _skip(text, at + 1)
    while text[at] != "}":
        if text[at] != '"':
            raise ValueError(f"no key at character {at}")
        begin = at
        key, at = _scanner.raw_decode(text, begin)
        key_text = text[begin:at]
        at = _skip(text, at)
        if text[at] != ":":
            raise ValueError(f"no colon at character {at}")
        start = _skip(text, at + 1)
        _, end = _scanner.raw_decode(text, start)
        found[key] = key_text, text[start:end]
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
            if text[at] == "}":
                raise ValueError(f"a comma before the end at character {at}")
        elif text[at] != "}":
            raise ValueError(f"no comma at character {at}")
    if _skip(text, at + 1) != len(text):
        raise ValueError("text after the end")
    return found


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return at if match is None else match.end()
