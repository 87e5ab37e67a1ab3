"""A real Prometheus (Debian's `prometheus`), which scrapes what a test tells it to."""

import json
import os
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from chaos.servers import free_port

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None and "CI" not in os.environ, reason="prometheus is not installed"
)

INTERVALS = {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"}


class Prometheus:
    """A running one, with its data in a folder of the test."""

    def __init__(self, folder: Path, targets: Mapping[str, str], rules: Sequence[Path] = ()) -> None:
        """`targets` are addresses by the name of their job."""
        self.url = f"http://127.0.0.1:{free_port()}"
        config = folder / "prometheus.yml"
        jobs = [{"job_name": name, "static_configs": [{"targets": [one]}]} for name, one in targets.items()]
        files = [str(path) for path in rules]
        text = yaml.safe_dump({"global": INTERVALS, "rule_files": files, "scrape_configs": jobs})
        config.write_text(text, encoding="utf-8")
        self._targets = len(targets)
        self.log = folder / "prometheus.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={config}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address={self.url.removeprefix('http://')}",
                ],
                stdout=log,
                stderr=log,
            )

    def ask(self, path: str, **query: str) -> Any:
        """The data of an answer of its API."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - of loopback
            return json.load(answer)["data"]

    def up(self) -> bool:
        """Whether it has scraped every target."""
        try:
            return len(self.ask("query", query="up == 1")["result"]) == self._targets
        except OSError:
            assert self.process.poll() is None, self.log.read_text(encoding="utf-8")
            return False

    def value(self, query: str) -> float | None:
        """The value of an expression, None if there is none."""
        result = self.ask("query", query=query)["result"]
        assert len(result) <= 1, result
        return float(result[0]["value"][1]) if result else None

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(20)
