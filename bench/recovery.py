"""How long a job waits for its next run after kill -9: `python -m bench.recovery [--rounds 20] [child|pod|ttl]...`.

`child`: one of two worker processes of a pod is killed. `pod`: a whole pod is killed, another one lives, and the
server may be asked for its connections (the shortcut). `ttl`: the same, but CLIENT is refused by ACL, so only the
missing heartbeat tells. Default settings: beat 1 s, TTL 10 s, confirm 8 s; embedded Valkey, appendfsync everysec.
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import redis

from bench.recovery_jobs import app, hold
from reliq.store.embedded import acquire

DEADLINE = 60.0


class Pod:
    """One `reliq worker` in a process group of its own."""

    def __init__(self, url: str, processes: int, folder: Path) -> None:
        command = [sys.executable, "-m", "reliq", "worker", "-A", "bench.recovery_jobs:app", "-q", "bench", "-c", "2"]
        command += ["--processes", str(processes), "--url", url, "--log-level", "ERROR"]
        command += ["--pidfile", str(folder / f"{secrets.token_hex(4)}.pid")]
        with (folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, start_new_session=True, stderr=log)

    def kill(self) -> None:
        """Kill -9 the supervisor and all its processes at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """End it the ordinary way."""
        self.process.terminate()
        self.process.wait()


def starts(folder: Path) -> list[tuple[float, int]]:
    """Return time and pid of each start so far."""
    try:
        lines = (folder / "starts").read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return []
    return [(float(when), int(pid)) for when, pid in (line.split() for line in lines)]


def wait_for(folder: Path, count: int) -> list[tuple[float, int]]:
    """Wait until the job has started `count` times."""
    until = time.monotonic() + DEADLINE
    while len(found := starts(folder)) < count:
        if time.monotonic() > until:
            log = (folder / "log").read_text(encoding="utf-8", errors="replace")
            raise SystemExit(f"the job did not start {count} times within {DEADLINE:g} s\n{log}")
        time.sleep(0.001)
    return found


def one_round(kind: str, url: str) -> float:
    """Return the seconds from one kill to the next start of the job."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        victim = Pod(url, 2 if kind == "child" else 1, folder)
        survivor = None
        try:
            hold.enqueue(name)
            [(_, pid)] = wait_for(folder, 1)
            if kind != "child":
                survivor = Pod(url, 1, folder)
            time.sleep(3.0)  # the survivor is up, and its reaper has watched the victim beat
            killed = time.time()
            if kind == "child":
                os.kill(pid, signal.SIGKILL)
            else:
                victim.kill()
            again = wait_for(folder, 2)[1][0]
            (folder / "end").touch()
            return again - killed
        finally:
            (folder / "end").touch()
            for pod in (victim, survivor):
                if pod is not None and pod.process.poll() is None:
                    pod.stop()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.recovery")
    parser.add_argument("kinds", nargs="*", default=["child", "pod", "ttl"])
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, acquire(f"embedded://{name}/server") as lease:
        app.configure(url=lease.url)
        with redis.Redis.from_url(lease.url) as server:
            server.acl_setuser("plain", enabled=True, passwords=["+plain"], keys=["*"], commands=["+@all", "-client"])
        socket = lease.url.removeprefix("unix://")
        for kind in options.kinds:
            url = f"unix://plain:plain@{socket}" if kind == "ttl" else lease.url
            times = [one_round(kind, url) for _ in range(options.rounds)]
            click.echo(
                f"{kind:6} {len(times)} kills: median {statistics.median(times) * 1000:8.1f} ms, "
                f"worst {max(times) * 1000:8.1f} ms"
            )
        app.close()


if __name__ == "__main__":
    main()
