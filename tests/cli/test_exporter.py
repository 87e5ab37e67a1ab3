"""`reliq exporter` as a program, beside real workers and without any."""

import json
import re
import signal
import socket
from pathlib import Path

import pytest

from chaos.eventually import eventually
from chaos.servers import Server
from tests.cli.conftest import Program, Reliq, Start
from tests.conftest import FreshServer
from tests.exporter.conftest import ask

SLOW = """
import pathlib, time
from reliq import Reliq

app = Reliq()

@app.job
def slow():
    while not pathlib.Path("door").exists():
        time.sleep(0.01)

@app.job
def steady():
    time.sleep(0.05)
"""


def port_of(program: Program) -> int:
    """Where it listens."""
    program.says(" at http://")
    found = re.search(r" at http://\S+:(\d+)", program.log)
    assert found is not None
    return int(found[1])


def scale(port: int, query: str = "") -> dict[str, float | None]:
    status, text = ask(port, f"/scale{query}")
    assert status == 200, text
    found: dict[str, float | None] = json.loads(text)
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_it_serves_without_any_worker_until_it_is_told_to_end(
    reliq: Reliq, start: Start, at_server: Server, number: signal.Signals
) -> None:
    reliq("enqueue", "quick", "-q", "mail")
    program = start("exporter", "--http", "127.0.0.1:0")
    port = port_of(program)
    assert scale(port)["jobs"] == 1
    assert 'reliq_queue_jobs{queue="mail"} 1.0' in ask(port, "/metrics")[1]
    assert ask(port, "/ready")[0] == ask(port, "/live")[0] == 200
    program.process.send_signal(number)
    assert program.wait() == 0
    assert len(program.log.splitlines()) == 1, program.log


def test_it_starts_before_redis_does(start: Start, fresh_server: FreshServer) -> None:
    server = fresh_server()
    server.stop()
    program = start("exporter", "--http", "127.0.0.1:0", "--url", server.url)
    port = port_of(program)
    assert "reliq_redis_up 0.0" in ask(port, "/metrics")[1]
    assert ask(port, "/scale")[0] == 503
    server.start()
    eventually(lambda: ask(port, "/ready")[0] == 200, 10, "it reads")
    assert scale(port)["jobs"] == 0
    assert program.stop() == 0


@pytest.mark.parametrize("fetch", ["--superfetch", "--no-superfetch"])
def test_a_job_counts_from_enqueue_to_its_end(
    reliq: Reliq, start: Start, at_server: Server, home: Path, fetch: str
) -> None:
    (home / "slow.py").write_text(SLOW, encoding="utf-8")
    port = port_of(start("exporter", "--http", "127.0.0.1:0"))
    reliq("enqueue", "slow")
    assert scale(port)["ready"] == 1
    worker = start("worker", "-A", "slow", "-c", "3", fetch)
    # Without super_fetch only its own word, every 5 s, says what it runs.
    eventually(lambda: scale(port)["in_flight"] == 1, 20, "it runs")
    assert {name: scale(port)[name] for name in ("jobs", "ready", "idle_slots", "processes")} == {
        "jobs": 1,
        "ready": 0,
        "idle_slots": 2,
        "processes": 1,
    }
    (home / "door").touch()
    eventually(lambda: scale(port)["jobs"] == 0, 20, "it is done")
    assert worker.stop() == 0
    eventually(lambda: scale(port)["processes"] == 0)


def test_how_long_jobs_run_is_known_when_nobody_works_any_more(
    reliq: Reliq, start: Start, at_server: Server, home: Path
) -> None:
    (home / "slow.py").write_text(SLOW, encoding="utf-8")
    port = port_of(start("exporter", "--http", "127.0.0.1:0"))
    reliq("enqueue", "steady")
    assert scale(port)["work_seconds"] is None
    worker = start("worker", "-A", "slow")
    with at_server.client() as client:
        eventually(lambda: client.hlen("pace") == 1, 20, "it says how long the job ran")
    assert worker.stop() == 0
    for _ in range(4):
        reliq("enqueue", "steady")

    def estimated() -> bool:
        found = scale(port)
        assert (found["jobs"], found["processes"]) == (4, 0)
        assert 0.2 <= (found["work_seconds"] or 0) < 20
        return True

    eventually(estimated, 5)


# -- mistakes


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--http", "9798"], "address '9798': write HOST:PORT, :PORT for all interfaces, or [IPV6]:PORT"),
        (["--http", "nowhere.invalid:1"], "cannot listen at nowhere.invalid:1: "),
        (["--url", "http://x"], "Redis URL 'http://x': start it with redis://"),
    ],
)
def test_what_cannot_be_used_is_said(start: Start, at_server: Server, words: list[str], complaint: str) -> None:
    program = start("exporter", *words)
    assert program.wait() == 2
    assert program.complaint().startswith(complaint)


def test_a_port_in_use_is_said(start: Start, at_server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        program = start("exporter", "--http", f"127.0.0.1:{taken.getsockname()[1]}")
        assert program.wait() == 2
    assert program.complaint().endswith(": Address already in use")
