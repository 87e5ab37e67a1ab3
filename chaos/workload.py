"""What is sent: kinds of jobs in proportion, with arguments that are easily spoilt on the way."""

from __future__ import annotations

import itertools
import json
import random
import secrets
import threading
import time
from collections.abc import Mapping
from typing import Any

import attrs
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

import reliq
from chaos.jobs import app, digest
from chaos.ledger import Ledger
from chaos.records import Expected, Sent, now

ODD: tuple[Any, ...] = (
    None,
    "",
    '\u00e9\u4e16\U0001f9ea \\u0041 "quoted" ]}',
    -0.0,
    1e-320,
    0.1,
    12345678901234567890,
    -9223372036854775808,
    [[[[[{"a": [1, 2.5e300, {"b": []}]}]]]]],
    {"": 1, "args": [1, 2], "jid": "x", "class": "y"},
    "x" * 2000,
)
"""Arguments of reliq's own producers."""

FOREIGN = (
    "1" * 300,
    "-0",
    "1E400",
    "1.10",
    "0.30000000000000004",
    '"\\u00e9\\ud83e\\uddea"',
    "[ 1 , 2 ]",
    '{"b":1,"b":2}',
)
"""The same of a foreign one: JSON as text, as Ruby or a person may write it."""


@attrs.frozen
class Kind:
    """A kind of job: the function's name, what must become of it, and whether its times vary."""

    job: str
    expected: Expected = "done"
    seconds: tuple[float, float] | None = None
    """From and to, if the job takes a time; most are short."""
    odd: bool = True
    delay: tuple[float, float] | None = None
    """From and to, if it is scheduled."""
    fails: bool | None = None


KINDS: dict[str, Kind] = {
    "work": Kind("work", seconds=(0.005, 0.15)),
    "long": Kind("work", seconds=(0.5, 2.5)),
    "lengthy": Kind("work", seconds=(3.0, 4.0)),
    "late-fence": Kind("late_fence", seconds=(0.01, 0.6)),
    "quick": Kind("quick"),
    "coroutine": Kind("coroutine", seconds=(0.01, 0.2)),
    "flaky": Kind("flaky"),
    "parent": Kind("parent"),
    "scheduled": Kind("quick", delay=(0.2, 3.0)),
    "foreign": Kind("quick"),
    "once": Kind("once", fails=False),
    "once-failing": Kind("once", expected="any", fails=True),
    "newcomer": Kind("newcomer", expected="any"),
    "gil": Kind("gil", seconds=(2.0, 5.0), odd=False),
    "gil-30": Kind("gil", seconds=(30.0, 30.0), odd=False),
    "killer": Kind("killer", expected="buried", odd=False),
    "segfault": Kind("segfault", expected="buried", odd=False),
    "exit": Kind("leaves", expected="buried", odd=False),
    "hog": Kind("hog", expected="buried", odd=False),
}


class Producer(threading.Thread):
    """Sends jobs to the Redis at `url`, and remembers what it has learned of each.

    `jobs` evenly over `seconds`, and on at the same pace until it is told to stop: a fault that is still waited for
    counts only while jobs run.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        url: str,
        weights: Mapping[str, float],
        jobs: int,
        seconds: float,
        seed: int,
        queues: tuple[str, ...],
    ) -> None:
        super().__init__(name="producer", daemon=True)
        self._ledger = ledger
        self._url = url
        self._weights = dict(weights)
        self._jobs = jobs
        self._seconds = seconds
        self._rng = random.Random(seed)
        self._queues = queues
        self._halt = threading.Event()
        self.sent = 0
        self.acked: dict[int, Sent] = {}

    def stop(self) -> None:
        """Send no more."""
        self._halt.set()

    def run(self) -> None:
        """Send until told to stop."""
        began = now()
        kinds, weights = list(self._weights), list(self._weights.values())
        try:
            for number in itertools.count():
                if self._halt.wait(max(0.0, began + self._seconds * number / self._jobs - now())):
                    break
                self.send(self._rng.choices(kinds, weights)[0])
        finally:
            app.close()

    def send(self, name: str) -> Sent:
        """Send one job of a kind, and note what became of it."""
        kind = KINDS[name]
        self.sent += 1
        token = self.sent
        args = self._arguments(token, kind)
        queue = self._rng.choice(self._queues)
        job = Sent(
            token=token,
            name=kind.job,
            queue=queue,
            via="push" if name == "foreign" else "enqueue_in" if kind.delay else "enqueue",
            kind="once" if kind.job == "once" else kind.job if kind.job == "gil" else name,
            digest=digest(args),
            expected=kind.expected,
            sent_at=now(),
        )
        text = self._foreign(job) if name == "foreign" else None
        if text is not None:
            job = attrs.evolve(job, digest=digest(json.loads(text)["args"]))
        self._ledger.add_sent([job])
        answer, jid = self._push(queue, text) if text is not None else self._enqueue(kind, queue, args)
        job = attrs.evolve(job, known_at=now(), answer=answer, jid=jid)
        self._ledger.add_sent([job])
        if answer == "acked":
            self.acked[token] = job
        return job

    def _arguments(self, token: int, kind: Kind) -> list[Any]:
        args: list[Any] = [token]
        if kind.seconds is not None:
            args.append(round(self._rng.uniform(*kind.seconds), 4))
        if kind.fails is not None:
            args.append(kind.fails)
        if kind.odd:
            args.append(self._rng.choice(ODD))
        return args

    def _enqueue(self, kind: Kind, queue: str, args: list[Any]) -> tuple[Any, str | None]:
        retry = False if kind.job == "once" else None
        try:
            if kind.delay is not None:
                delay = self._rng.uniform(*kind.delay)
                return "acked", app.enqueue_in(delay, kind.job, *args, queue=queue, retry=retry)
            return "acked", app.enqueue(kind.job, *args, queue=queue, retry=retry)
        except reliq.Refused:
            return "refused", None
        except reliq.StoreError:
            return "unknown", None

    def _foreign(self, job: Sent) -> str:
        jid = secrets.token_hex(12)
        odd = self._rng.choice(FOREIGN)
        return (
            f'{{"retry" : true,"queue":"{job.queue}", "jid":"{jid}","class":"{job.name}",'
            f'"created_at":{int(time.time() * 1000)},"args":[{job.token},{odd}]}}'
        )

    def _push(self, queue: str, text: str) -> tuple[Any, str | None]:
        # As any client would: it knows nothing of resends.
        try:
            with redis.Redis.from_url(self._url, retry=Retry(NoBackoff(), 0), socket_timeout=3) as client:
                client.sadd("queues", queue)
                client.lpush(f"queue:{queue}", text.encode())
        except redis.ResponseError:
            return "refused", None
        except redis.RedisError:
            return "unknown", None
        return "acked", None
