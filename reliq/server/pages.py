"""Pages: what a worker answers over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
import orjson

from reliq.server.children import Child
from reliq.server.health import Health
from reliq.server.http import JSON, Answer, HttpServer, Page
from reliq.server.metrics import CONTENT_TYPE, PodMetrics
from reliq.server.service import Service


def open_pages(
    address: str,
    version: str,
    health: Health,
    children: Callable[[], Sequence[Child]],
    services: Callable[[], Sequence[Service]],
) -> tuple[PodMetrics, HttpServer]:
    """Return who is to be told of everything, and the server, bound and not started. Raises ConfigError."""
    metrics = PodMetrics(version, health, children, services)
    return metrics, HttpServer(address, _pages(health, metrics))


def _pages(health: Health, metrics: PodMetrics) -> dict[str, Page]:

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
