"""`reliq demo`: real jobs, real kills, and a ledger that shows what became of each job."""

from __future__ import annotations

from reliq.cli.demo.command import demo

__all__ = ["demo"]
