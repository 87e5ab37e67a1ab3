"""Pages: what a worker answers over HTTP."""

from __future__ import annotations

import attrs
import orjson

from reliq.server.health import Health
from reliq.server.http import JSON, Answer, Page
from reliq.server.metrics import CONTENT_TYPE, PodMetrics


def pages(health: Health, metrics: PodMetrics) -> dict[str, Page]:
    """Return the pages by path."""

    def live() -> Answer:
        report = health.look()
        return Answer(200 if report.live else 503, orjson.dumps(attrs.asdict(report)), JSON)

    def ready() -> Answer:
        report = health.look()
        return Answer(200 if report.ready else 503, orjson.dumps(attrs.asdict(report)), JSON)

    return {
        "/live": lambda _: live(),
        "/ready": lambda _: ready(),
        "/metrics": lambda _: Answer(200, metrics.page(), CONTENT_TYPE),
    }
