"""The peers, by name, in the order of the tables."""

from __future__ import annotations

from bench.peers.arq import Arq
from bench.peers.ceiling import Ceiling
from bench.peers.celery import Celery
from bench.peers.dramatiq import Dramatiq
from bench.peers.huey import Huey
from bench.peers.lpush import Lpush
from bench.peers.peer import Peer
from bench.peers.reliq import Reliq
from bench.peers.rq import Rq
from bench.peers.saq import Saq
from bench.peers.sidekiq import ReliableSidekiq, Sidekiq
from bench.peers.taskiq import Taskiq

PEERS: dict[str, type[Peer]] = {
    kind.name: kind
    for kind in (
        *(Reliq, Ceiling, Lpush),
        *(Sidekiq, ReliableSidekiq, Dramatiq, Celery, Rq, Arq, Saq, Taskiq, Huey),
    )
}
OWN = ("reliq", "ceiling", "lpush")
"""These need no installation and are always measured, to compare with."""
