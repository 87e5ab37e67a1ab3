"""A fleet: all pods of one test, the ledger of their jobs, the application that enqueues, and a client that looks."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import attrs
import orjson
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from chaos.eventually import eventually
from reliq import Reliq
from reliq.config import Config
from tests.support.ledger import VARIABLE, Ledger
from tests.support.pod import Pod

ROOT = Path(__file__).resolve().parents[2]
APP = "tests.support.jobs:app"

FAST = {"beat": 0.2, "ttl": 1.0, "connect_timeout": 0.5, "command_timeout": 0.5, "longest_backoff": 0.3}
"""The shortest times that reliq allows; `confirm` is then 1.5 s."""

TTL, CONFIRM = 1.0, 1.5
"""Seconds of FAST, for bounds."""


@attrs.frozen
class Result:
    """What a command answered."""

    code: int
    output: str
    error: str


class Fleet:
    """The pods of one test, on the server at `url`."""

    def __init__(self, url: str, *, namespace: str = "", settings: Mapping[str, float] | None = None) -> None:
        self.url = url
        self.directory = Path(tempfile.mkdtemp(prefix="reliq-", dir="/tmp"))  # short: unix sockets lie in it
        self.ledger = Ledger(self.directory / "ledger")
        self.settings = {**FAST, **(settings or {})}
        self.wanted: dict[str, int] = {}
        self.pods: list[Pod] = []
        self.app = Reliq(url, config=Config(url=url, namespace=namespace, **cast(Any, self.settings)))
        self.client = redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=10)
        self._prefix = f"{namespace}:" if namespace else ""
        self._namespace = namespace

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # -- pods

    @property
    def environment(self) -> dict[str, str]:
        """What a worker finds in its environment: the fast settings, its own folder for pid files, the ledger."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("RELIQ_")}
        return {
            **own,
            **{f"RELIQ_{name.upper()}": str(value) for name, value in self.settings.items()},
            "TMPDIR": str(self.directory),
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            VARIABLE: str(self.ledger.path),
        }

    def start(
        self,
        *,
        processes: int = 1,
        concurrency: int = 4,
        queues: Sequence[str] = ("default",),
        options: Sequence[str] = (),
        app: str = APP,
        url: str | None = None,
        environment: Mapping[str, str] | None = None,
        pidfile: bool = True,
        wait: bool = True,
    ) -> Pod:
        """Start a pod and wait until all its workers are registered.

        `queues` as after `-q`; `options` are further words of the command line; `url` another way to the server, as
        through a proxy or as another user; `pidfile=False` leaves the pid file in its default place; `wait=False`
        returns at once.
        """
        name = f"pod{len(self.pods)}"
        self.wanted[name] = processes
        words = [sys.executable, "-m", "reliq", "worker", "-A", app, "--url", url or self.url, "-c", str(concurrency)]
        words += ["--processes", str(processes), *(["--namespace", self._namespace] if self._namespace else [])]
        words += [word for queue in queues for word in ("-q", queue)]
        words += ["--pidfile", str(self.directory / f"{name}.pid")] if pidfile else []
        pod = Pod(self, name, [*words, *options], {**self.environment, **(environment or {})})
        self.pods.append(pod)
        return pod.ready() if wait else pod

    def command(self, *words: str, within: float = 30.0) -> Result:
        """Run another `reliq` command to its end, in the pods' environment."""
        run = subprocess.run(
            [sys.executable, "-m", "reliq", *words],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )
        return Result(run.returncode, run.stdout, run.stderr)

    def begin(self, *words: str) -> "subprocess.Popen[str]":
        """Start another `reliq` command, to be waited for with `communicate`."""
        return subprocess.Popen(
            [sys.executable, "-m", "reliq", *words],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    # -- jobs

    def enqueue(self, name: str, *args: Any, queue: str = "default", retry: bool | int | None = None) -> str:
        """Enqueue a job of tests/support/jobs.py; its jid."""
        return self.app.enqueue(name, *args, queue=queue, retry=retry)

    def open(self, gate: str) -> None:
        """Let the `gated` jobs of this gate finish."""
        (self.directory / f"gate-{gate}").touch()

    def beats(self, identity: str) -> int:
        """How often it has beaten; 0 if it has no heartbeat."""
        counter = self.heartbeat(identity)
        return int(counter) if counter and counter != b"fenced" else 0

    def push(self, payload: bytes, queue: str = "default") -> None:
        """Put bytes into a queue, as a foreign client would."""
        self.client.lpush(self.key(f"queue:{queue}"), payload)

    def make_due(self, name: str = "retry") -> None:
        """Let the time of all jobs in `retry` or `schedule` have come."""
        key = self.key(name)
        for member in cast("list[bytes]", self.client.zrange(key, 0, -1)):
            self.client.zadd(key, {member: 1}, xx=True)

    def done(self, jids: Sequence[str], within: float = 10.0) -> None:
        """Wait until each of these jobs has finished."""

        def all_finished() -> bool:
            finished = {event.jid for event in self.ledger.events("finish")}
            missing = [jid for jid in jids if jid not in finished]
            assert not missing, f"{len(missing)} of {len(jids)} jobs have not finished: {missing[:3]}"
            return True

        eventually(all_finished, within, "all jobs finish")

    def started(self, jid: str, within: float = 10.0, times: int = 1) -> None:
        """Wait until this job has started so many times."""
        eventually(lambda: len(self.ledger.started(jid)) >= times, within, f"{jid} starts, for the time no. {times}")

    # -- what is in Redis

    def key(self, name: str) -> str:
        """A key's full name."""
        return self._prefix + name

    def entries(self) -> dict[str, dict[str, Any]]:
        """Identity to entry of everybody who is in the fleet."""
        found = cast("dict[bytes, bytes]", self.client.hgetall(self.key("fleet")))
        return {identity.decode(): orjson.loads(entry) for identity, entry in found.items()}

    def heartbeat(self, identity: str) -> bytes | None:
        """The beat counter, `fenced`, or None."""
        return cast("bytes | None", self.client.get(self.key(f"heartbeat:{identity}")))

    def payloads(self, name: str) -> list[dict[str, Any]]:
        """The jobs of a list (left to right) or of a set (by score)."""
        key = self.key(name)
        kind = self.client.type(key)
        raw: list[bytes] = []  # a key that is not there yet may be of either kind at the next command
        if kind == b"zset":
            raw = cast("list[bytes]", self.client.zrange(key, 0, -1))
        elif kind == b"list":
            raw = cast("list[bytes]", self.client.lrange(key, 0, -1))
        return [orjson.loads(one) for one in raw]

    def jids(self, name: str) -> list[str]:
        """The ids of the jobs there."""
        return [payload["jid"] for payload in self.payloads(name)]

    def items(self, name: str) -> list[bytes]:
        """Elements of a list, left to right, byte for byte."""
        return cast("list[bytes]", self.client.lrange(self.key(name), 0, -1))

    def crashed(self) -> set[str]:
        """Ids of the jobs with a crash on record."""
        return {jid.decode() for jid in cast("list[bytes]", self.client.hkeys(self.key("crashes")))}

    def shown(self, identity: str) -> dict[str, bytes]:
        """What Sidekiq's view sees of a process."""
        fields = cast("dict[bytes, bytes]", self.client.hgetall(self.key(identity)))
        return {name.decode(): value for name, value in fields.items()}

    def work(self) -> list[dict[str, Any]]:
        """What all processes show of what they run."""
        keys = list(self.client.scan_iter(match=self.key("*:work"), count=1000))
        return [orjson.loads(entry) for key in keys for entry in cast("list[bytes]", self.client.hvals(key))]

    def scores(self, name: str) -> list[tuple[bytes, float]]:
        """Members and scores of a sorted set, lowest first."""
        return cast("list[tuple[bytes, float]]", self.client.zrange(self.key(name), 0, -1, withscores=True))

    def members(self, name: str) -> list[bytes]:
        """Members of a sorted set, byte for byte."""
        return [member for member, _ in self.scores(name)]

    def lists(self, pattern: str) -> dict[str, int]:
        """Length of each list whose name matches, as `private:*`; empty ones do not exist."""
        found = [key.decode() for key in self.client.scan_iter(match=self.key(pattern), count=1000)]
        return {key.removeprefix(self._prefix): self.client.llen(key) for key in found}

    def held(self) -> int:
        """How many jobs lie in private lists."""
        return sum(self.lists("private:*").values())

    def stat(self, name: str) -> int:
        """One of the counters."""
        return int(cast("bytes | None", self.client.get(self.key(f"stat:{name}"))) or 0)

    def drained(self, *queues: str, within: float = 10.0) -> None:
        """Wait until these queues, all private lists and the quarantines are empty."""

        def empty() -> bool:
            left = {**self.lists("private:*"), **self.lists("quarantine:*")}
            left |= {queue: length for queue in queues or ("default",) if (length := self._length(queue))}
            assert not left, str(left)
            return True

        eventually(empty, within, "nothing waits and nothing is held")

    def _length(self, queue: str) -> int:
        return self.client.llen(self.key(f"queue:{queue}"))

    # -- the end

    def problems(self) -> list[str]:
        """Lines of the logs that no worker may ever write."""
        bad = ("unexpected error", "Exception in thread", "Exception ignored", "Fatal Python error")
        return [
            f"{pod.name}: {line}"
            for pod in self.pods
            for line in pod.log.splitlines()
            if any(word in line for word in bad)
        ]

    def logs(self) -> str:
        """All logs, for whoever looks at a failed test."""
        return "\n".join(f"-- {pod.name} (supervisor {pod.pid})\n{pod.log}" for pod in self.pods)

    def close(self) -> None:
        """Kill what still runs, and remove all files."""
        for pod in self.pods:
            pod.kill()
        self.app.close()
        self.client.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def median(numbers: Sequence[float]) -> float:
    """The middle one."""
    return sorted(numbers)[len(numbers) // 2]
