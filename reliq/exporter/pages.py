"""Pages: what the exporter answers."""

from __future__ import annotations

import attrs
import orjson

from reliq.errors import ReliqError
from reliq.exporter.metrics import CONTENT_TYPE, Metrics
from reliq.exporter.reader import Reader
from reliq.exporter.scale import scale_of
from reliq.server.http import JSON, Answer, Page, Query


def pages(reader: Reader, metrics: Metrics) -> dict[str, Page]:
    """Return the pages by path."""

    def scale(query: Query) -> Answer:
        try:
            found = scale_of(reader.read(), query.get("queue"))
        except ReliqError as error:
            # No numbers at all: a scaler must not take an outage of Redis for an empty queue.
            return Answer(503, f"{error}\n")
        return Answer(200, orjson.dumps(attrs.asdict(found)), JSON)

    def ready(query: Query) -> Answer:  # noqa: ARG001 - a page's signature
        try:
            reader.read()
        except ReliqError as error:
            return Answer(503, f"{error}\n")
        return Answer(200, "Redis answers\n")

    return {
        "/metrics": lambda query: Answer(200, metrics.page(), CONTENT_TYPE),  # noqa: ARG005
        "/scale": scale,
        "/live": lambda query: Answer(200, "serving\n"),  # noqa: ARG005
        "/ready": ready,
    }
