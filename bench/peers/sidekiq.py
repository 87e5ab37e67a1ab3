"""Sidekiq, from Debian, with its own fetch and with GitLab's reliable one."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, cast

import redis

from bench import environments
from bench.environments import Installed
from bench.peers.peer import ALL, Peer
from bench.programs import ROOT

APP = str(ROOT / "bench" / "apps" / "sidekiq_app.rb")


class Sidekiq(Peer):
    """Sidekiq OSS. Settled: as soon as all jobs have run, because the server holds nothing of a claimed job."""

    name = "sidekiq"
    mode = "basic fetch, its default: out of Redis before it runs"
    keys: tuple[str, ...] = ("queue:default",)
    pace = 6000
    rows = ALL

    def _install(self, folder: Path, *, install: bool) -> Installed:
        return environments.debian(self.name, install=install)

    def worker(self, *, processes: int, threads: int, url: str) -> list[list[str]]:
        return [[self.installed.tool("sidekiq"), "-c", str(threads), "-q", "default", "-r", APP]] * processes

    def producer(self) -> list[str]:
        return [str(self.installed.program), APP, "produce"]

    def settled(self, server: redis.Redis, sent: int) -> bool:
        return server.llen("queue:default") == 0


class ReliableSidekiq(Sidekiq):
    """With gitlab-sidekiq-fetcher. Settled: its working queues are empty, too."""

    name = "sidekiq-reliable"
    mode = "GitLab's reliable fetch, its default settings: in a working queue until it has finished"
    pace = 3500
    poll = 5.0
    environment: ClassVar[dict[str, str]] = {"BENCH_RELIABLE": "1"}

    def settled(self, server: redis.Redis, sent: int) -> bool:
        held = cast(list[bytes], server.keys("working:*"))
        return not held and super().settled(server, sent)

    @property
    def title(self) -> str:
        return f"gitlab fetcher {self.installed.version}"
