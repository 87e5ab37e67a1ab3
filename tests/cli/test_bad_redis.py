"""A Redis that does not answer, or does not let one in: one clear line, and exit code 69 or 1."""

from collections.abc import Iterator

import pytest

from chaos.eventually import eventually
from chaos.servers import Server, free_port
from tests.cli.conftest import Reliq, Start
from tests.conftest import FreshServer

FAILED, USAGE, UNREACHABLE = 1, 2, 69


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Producers give up after a fifth of a second."""
    monkeypatch.setenv("RELIQ_RESEND_FOR", "0.2")
    monkeypatch.setenv("RELIQ_CONNECT_TIMEOUT", "0.5")
    monkeypatch.setenv("RELIQ_COMMAND_TIMEOUT", "0.5")


@pytest.fixture
def nobody() -> str:
    """A URL that nobody answers."""
    return f"redis://127.0.0.1:{free_port()}"


@pytest.mark.parametrize(
    "words", ["status", "status --json", "queues", "queues pause mail", "enqueue quick", "reaper", "doctor"]
)
def test_nobody_answers(reliq: Reliq, monkeypatch: pytest.MonkeyPatch, nobody: str, words: str) -> None:
    monkeypatch.setenv("RELIQ_URL", nobody)
    answer = reliq(*words.split())
    assert answer.code == UNREACHABLE
    assert f"no answer from Redis at {nobody}" in answer.line
    assert "Connection refused" in answer.line


def test_who_enqueues_hears_that_the_job_may_be_there(reliq: Reliq, nobody: str) -> None:
    assert "the job may have been enqueued or not" in reliq("enqueue", "quick", "--url", nobody).line


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://no-such-host.invalid", "no answer from Redis at redis://no-such-host.invalid"),
        ("unix:///nowhere/socket", "no answer from Redis at unix:///nowhere/socket"),
        ("redis://:secret@127.0.0.1:1", "no answer from Redis at redis://:***@127.0.0.1:1"),
    ],
)
def test_an_address_that_leads_nowhere(reliq: Reliq, url: str, said: str) -> None:
    answer = reliq("status", "--url", url)
    assert answer.code == UNREACHABLE
    assert said in answer.line
    assert "secret" not in answer.line


def test_a_worker_says_so_and_keeps_trying(start: Start, server: Server) -> None:
    """It starts before Redis does, as happens in a cluster; jobs run as soon as there is one."""
    with Server() as late:
        late.kill()
        program = start("worker", "-A", "jobs", "--url", late.url)
        program.says(f"no answer from Redis at {late.url}")
        late.start()
        program.says("Redis answers again")
        assert start("enqueue", "quick", "--url", late.url).wait() == 0
        with late.client() as client:
            eventually(lambda: client.get("stat:processed") == b"1", 10, "the job runs")
        assert program.stop() == 0
    assert program.log.count("no answer from Redis") < 10


def test_a_worker_can_be_told_not_to_wait(start: Start, nobody: str) -> None:
    program = start("worker", "-A", "jobs", "--url", nobody, "--exit-on-unreachable", "--processes", "2")
    assert program.wait() == UNREACHABLE
    assert f"no answer from Redis at {nobody}" in program.complaint()


def test_a_worker_that_waits_can_be_stopped(start: Start, nobody: str) -> None:
    program = start("worker", "-A", "jobs", "--url", nobody)
    program.says("trying again")
    assert program.stop() == 0


@pytest.fixture
def guarded(fresh_server: FreshServer) -> Iterator[Server]:
    """A server with a password, and a user who may do almost nothing."""
    server = fresh_server(tcp=True, settings={"requirepass": "open-sesame"})
    with server.client(password="open-sesame") as client:
        client.execute_command("ACL", "SETUSER", "guest", "on", ">guest", "~*", "+ping", "+info")
    yield server
    with server.client(password="open-sesame") as client:
        assert client.keys("*") == []


@pytest.mark.parametrize(
    ("login", "said"),
    [
        ("", "Redis wants a password; put it into the URL: redis://:PASSWORD@host."),
        (":wrong@", "Redis refused the user or password in the URL."),
        ("nobody:open-sesame@", "Redis refused the user or password in the URL."),
        ("guest:guest@", "Redis does not allow this user a command that reliq needs; extend its ACL."),
    ],
    ids=["none", "wrong", "unknown-user", "acl"],
)
def test_the_password_is_refused(reliq: Reliq, start: Start, guarded: Server, login: str, said: str) -> None:
    url = f"redis://{login}127.0.0.1:{guarded.port}"
    for words in (["enqueue", "quick"], ["status"]):
        answer = reliq(*words, "--url", url)
        assert answer.code == FAILED
        assert said in answer.line
        assert "open-sesame" not in answer.line
        assert "wrong" not in answer.line
    program = start("worker", "-A", "jobs", "--url", url)
    program.says(said)
    assert program.stop() == 0
    assert "open-sesame" not in program.log


def test_a_password_that_is_right(reliq: Reliq, start: Start, fresh_server: FreshServer) -> None:
    server = fresh_server(tcp=True, settings={"requirepass": "open-sesame"})
    url = f"redis://:open-sesame@127.0.0.1:{server.port}"
    assert reliq("enqueue", "quick", "--url", url).code == 0
    program = start("worker", "-A", "jobs", "--url", url)
    with server.client(password="open-sesame") as client:
        eventually(lambda: client.get("stat:processed") == b"1", 15, "the job runs")
    assert program.stop() == 0
    assert "open-sesame" not in program.log
    program.says(f"redis://:***@127.0.0.1:{server.port}")


def test_a_full_redis_refuses_with_a_reason(reliq: Reliq, fresh_server: FreshServer) -> None:
    server = fresh_server(settings={"maxmemory-policy": "noeviction"})
    server.config(maxmemory=1)
    answer = reliq("enqueue", "quick", "--url", server.url)
    assert answer.code == FAILED
    assert "Redis is full (maxmemory). Nothing was stored" in answer.line
    with server.client() as client:
        assert client.dbsize() == 0
