"""The producer: how many jobs it sends, and when."""

from __future__ import annotations

from pathlib import Path

import redis

from chaos.eventually import eventually
from chaos.jobs import app
from chaos.ledger import Ledger
from chaos.records import now
from chaos.servers import Server
from chaos.workload import Producer


def test_it_goes_on_at_the_same_pace_until_it_is_told_to_stop(
    server: Server, redis_client: redis.Redis, tmp_path: Path
) -> None:
    app.configure(url=server.url)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        producer = Producer(
            ledger=ledger,
            url=server.url,
            weights={"quick": 1},
            jobs=2,
            seconds=0.1,
            seed=1,
            queues=("default",),
        )
        began = now()
        producer.start()
        try:
            eventually(lambda: producer.sent >= 6, why="it goes on when the time is over")
            took = now() - began
        finally:
            producer.stop()
            producer.join(10)
        assert not producer.is_alive()
        assert took >= 0.25  # the sixth is due five times 0.05 s after the first
        assert redis_client.llen("queue:default") == len(producer.acked) == producer.sent
        assert len(ledger.sent()) == producer.sent
