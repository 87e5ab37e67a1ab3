"""`reliq bench`: what this machine and this server do, in half a minute."""

from __future__ import annotations

from reliq.cli.bench.command import bench

__all__ = ["bench"]
