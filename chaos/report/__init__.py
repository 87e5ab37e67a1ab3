"""The report of a run: in the terminal, as data, and as one page."""

from __future__ import annotations

import json
from pathlib import Path

from chaos.ledger import Ledger
from chaos.report.document import document
from chaos.report.page import page
from chaos.verdict import Verdict


def write(ledger: Ledger, verdict: Verdict, directory: Path) -> Path:
    """Write report.json and report.html into the directory, which it makes; return the page's path."""
    directory.mkdir(parents=True, exist_ok=True)
    data = json.dumps(document(ledger, verdict), indent=2)
    (directory / "report.json").write_text(data + "\n", encoding="utf-8")
    path = directory / "report.html"
    path.write_text(page(ledger, verdict), encoding="utf-8")
    return path
