"""What operators see: status, queues, pause and resume, in words and as JSON."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.eventually import eventually
from chaos.servers import Server
from tests.cli.conftest import Reliq, Start

SLOW = """
import pathlib, time
from reliq import Reliq

app = Reliq()

@app.job
def slow():
    while not pathlib.Path("door").exists():
        time.sleep(0.01)
"""


def test_the_program_explains_itself(reliq: Reliq) -> None:
    assert re.fullmatch(r"reliq, version \d+\.\d+\.\d+\n", reliq("--version").out)
    helped = reliq("--help")
    assert helped.code == 0
    for command in ("worker", "quiet", "stop", "reaper", "exporter", "enqueue", "status", "queues", "doctor", "demo"):
        assert re.search(rf"^  {command} ", helped.out, re.MULTILINE)
        assert reliq(command, "--help").code == 0


def test_it_is_a_program_and_a_module(home: Path) -> None:
    program = Path(sys.executable).with_name("reliq")
    for command in ([program], [sys.executable, "-m", "reliq"]):
        done = subprocess.run([*command, "nope"], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "No such command 'nope'" in done.stderr


def test_enqueue_prints_the_jid_and_nothing_else(reliq: Reliq, at_server: Server) -> None:
    answer = reliq("enqueue", "SendMail", "42", '"x"', "-q", "mail", "--retry", "3")
    assert re.fullmatch(r"[0-9a-f]{24}\n", answer.out)
    assert answer.err == ""
    with at_server.client() as client:
        (payload,) = client.lrange("queue:mail", 0, -1)
    job = json.loads(payload)
    assert {name: job[name] for name in ("class", "args", "jid", "queue", "retry")} == {
        "class": "SendMail",
        "args": [42, "x"],
        "jid": answer.out.strip(),
        "queue": "mail",
        "retry": 3,
    }


def test_status_of_an_empty_server(reliq: Reliq, at_server: Server) -> None:
    assert json.loads(reliq("status", "--json").out) == {
        "processed": 0,
        "failed": 0,
        "scheduled": 0,
        "retries": 0,
        "dead": 0,
        "queues": [],
        "processes": [],
    }
    assert "no living worker" in reliq("status").out
    assert reliq("queues").out == "no queue yet\n"
    assert json.loads(reliq("queues", "--json").out) == []


def test_status_with_a_worker(reliq: Reliq, start: Start, at_server: Server) -> None:
    program = start("worker", "-A", "jobs", "-q", "mail", "-q", "default", "-c", "3")
    with at_server.client() as client:
        eventually(lambda: client.hlen("fleet"), 15, "the worker registers")
    reliq("enqueue", "quick", "-q", "elsewhere")
    reliq("enqueue", "quick", "--in", "60")
    status = json.loads(reliq("status", "--json").out)
    assert status["scheduled"] == 1
    assert [queue["name"] for queue in status["queues"]] == ["default", "elsewhere", "mail"]
    waiting = status["queues"][1]
    assert {name: waiting[name] for name in waiting if name != "latency"} == {
        "name": "elsewhere",
        "size": 1,
        "paused": False,
        "held": 0,
        "orphaned": 0,
        "quarantined": 0,
    }
    assert 0 <= waiting["latency"] < 60
    (process,) = status["processes"]
    assert process["queues"] == ["mail", "default"]
    assert (process["concurrency"], process["held"], process["stopping"]) == (3, 0, False)
    shown = reliq("status").out
    assert "elsewhere" in shown
    assert "running" in shown
    assert program.stop() == 0


def test_pause_and_resume(reliq: Reliq, at_server: Server) -> None:
    reliq("enqueue", "quick", "-q", "mail")
    assert reliq("queues", "pause", "mail").out == "mail is paused\n"
    assert json.loads(reliq("queues", "--json").out)[0]["paused"] is True
    assert "paused" in reliq("queues").out
    assert reliq("queues", "pause", "mail").code == 0
    assert reliq("queues", "resume", "mail").out == "mail is resumed\n"
    assert reliq("queues", "resume", "mail").out == "mail was not paused\n"


def test_a_queue_that_is_not_there_cannot_be_paused(reliq: Reliq, at_server: Server) -> None:
    reliq("enqueue", "quick", "-q", "mail")
    answer = reliq("queues", "pause", "mial")
    assert answer.code == 2
    assert answer.line == "there is no queue 'mial'; known are: mail"


def test_jobs_that_are_none_do_not_disturb(reliq: Reliq, at_server: Server) -> None:
    with at_server.client() as client:
        client.sadd("queues", "mail")
        client.lpush("queue:mail", b"\xff not json")
    (queue,) = json.loads(reliq("queues", "--json").out)
    assert (queue["size"], queue["latency"]) == (1, None)
    assert reliq("status").code == 0


def test_watch_shows_it_until_interrupted(at_server: Server, home: Path) -> None:
    ours, theirs = pty.openpty()
    watch = subprocess.Popen(
        [sys.executable, "-m", "reliq", "status", "--watch"],
        cwd=home,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    os.set_blocking(ours, False)
    shown = b""

    def grown(text: bytes) -> bool:
        nonlocal shown
        with contextlib.suppress(OSError):
            shown += os.read(ours, 65536)
        return text in shown

    try:
        eventually(lambda: grown(b"no living worker"), 15, "the first picture")
        with at_server.client() as client:
            client.incrby("stat:processed", 4321)
        eventually(lambda: grown(b"processed 4,321"), 15, "the next picture")
    finally:
        watch.send_signal(signal.SIGINT)
        code = watch.wait(10)
        os.close(ours)
    assert code == 0
    assert b"Traceback" not in shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["INT", "TERM"])
def test_quiet_and_stop_find_the_worker_by_its_pid_file(
    reliq: Reliq, start: Start, at_server: Server, number: signal.Signals
) -> None:
    program = start("worker", "-A", "jobs")
    with at_server.client() as client:
        eventually(lambda: client.hlen("fleet"), 15, "the worker registers")
    assert reliq("quiet", "--wait", "10").code == 0
    assert program.process.poll() is None
    if number == signal.SIGINT:
        assert reliq("stop", "--wait", "10").code == 0
    else:
        program.process.send_signal(number)
    assert program.wait() == 0
    assert reliq("stop").code == 3


def test_stop_says_when_it_could_not_wait_long_enough(
    reliq: Reliq, start: Start, at_server: Server, home: Path
) -> None:
    (home / "slow.py").write_text(SLOW, encoding="utf-8")
    program = start("worker", "-A", "slow")
    reliq("enqueue", "slow")
    with at_server.client() as client:
        eventually(lambda: client.keys("private:*"), 15, "the job runs")
    answer = reliq("stop", "--wait", "0.1")
    assert answer.code == 1
    assert answer.line == "1 of 1 workers have not ended after 0.1 s (1 jobs)"
    (home / "door").touch()
    assert program.wait() == 0
