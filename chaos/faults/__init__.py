"""The faults, by name. Each is seeded, logged with its time, and says what it may explain."""

from __future__ import annotations

from chaos.faults import connections, patterns, pods, points, server
from chaos.faults.base import Fault

ALL: dict[str, Fault] = {
    fault.name: fault for fault in (*pods.FAULTS, *points.FAULTS, *connections.FAULTS, *server.FAULTS, *patterns.FAULTS)
}

__all__ = ["ALL", "Fault"]
