"""Settings that cannot be used: one clear line that names the setting and where it came from, exit code 2."""

from pathlib import Path

import pytest

from reliq.server.pidfile import PidFile
from tests.cli.conftest import Reliq

USAGE = 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "no application: write -A module:name"),
        ("-A jobs -q mail,", "queue 'mail,': write name or name,weight with a weight from 1 to 1000"),
        ("-A jobs -q mail,0", "weight from 1 to 1000"),
        ("-A jobs -q mail,1001", "weight from 1 to 1000"),
        ("-A jobs -q mail,heavy", "weight from 1 to 1000"),
        ("-A jobs -q mail,٣", "weight from 1 to 1000"),
        ("-A jobs -q ,5", "queue name '': use 1 to 128 printable characters"),
        ("-A jobs -q {mail}", "braces are not allowed"),
        (f"-A jobs -q {'q' * 129}", "use 1 to 128 printable characters"),
        ("-A jobs -q mail -q mail", "queue 'mail' is given twice"),
        ("-A jobs -q mail,2 -q mail,3", "queue 'mail' is given twice"),
        ("-A jobs -c 0", "-c 0: give a number from 1 to 1000"),
        ("-A jobs -c 1001", "-c 1001: give a number from 1 to 1000"),
        ("-A jobs --processes 0", "--processes 0: give a number from 1 to 256"),
        ("-A jobs --processes 257", "--processes 257: give a number from 1 to 256"),
        ("-A jobs --timeout -1", "timeout = -1.0: give seconds, 0 or more"),
        ("-A jobs --beat 0.1", "beat = 0.1, ttl = 10.0: the least are 0.2 s and 1 s"),
        ("-A jobs --ttl 0.5 --beat 0.2", "the least are 0.2 s and 1 s"),
        ("-A jobs --beat 3", "must be at least 4 beats of 3.0 s"),
        ("-A jobs --beat 0", "beat = 0.0: give a number above 0"),
        ("-A jobs --ttl nan", "ttl = nan: give a number above 0"),
        ("-A jobs --confirm 5", "confirm = 5.0: must be at least 8 s"),
        ("-A jobs --url http://127.0.0.1", "start it with redis://, rediss://, unix:// or embedded:"),
        ("-A jobs --url 127.0.0.1:6379", "start it with redis://, rediss://, unix:// or embedded:"),
        ("-A jobs --url redis://127.0.0.1:port", "Redis URL 'redis://127.0.0.1:port'"),
        ("-A jobs --namespace {shop", "braces make one hash tag"),
        ("-A jobs --namespace {}", "braces make one hash tag"),
    ],
)
def test_the_worker_refuses(reliq: Reliq, words: str, said: str) -> None:
    answer = reliq("worker", *words.split())
    assert answer.code == USAGE
    assert said in answer.line


def test_a_line_break_in_a_queue_name_stays_one_line(reliq: Reliq) -> None:
    answer = reliq("worker", "-A", "jobs", "-q", "two\nlines")
    assert answer.code == USAGE
    assert "printable" in answer.line


@pytest.mark.parametrize(
    "words",
    ["worker --log-level LOUD", "reaper --log-format xml", "worker -c many", "worker --nope", "nope", "enqueue"],
)
def test_what_is_no_option_shows_the_usage(reliq: Reliq, words: str) -> None:
    answer = reliq(*words.split())
    assert answer.code == USAGE
    assert "Error: " in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("RELIQ_BEAT", "often", "RELIQ_BEAT: beat = 'often' is not valid"),
        ("RELIQ_CONCURRENCY", "2.5", "RELIQ_CONCURRENCY: concurrency = '2.5' is not valid"),
        ("RELIQ_SUPERFETCH", "maybe", "RELIQ_SUPERFETCH: superfetch = 'maybe' is not valid: write true or false"),
        ("RELIQ_QUEUES", "mail,0", "weight from 1 to 1000"),
        ("RELIQ_QUEUES", "", "no queue given"),
        ("RELIQ_URL", "http://127.0.0.1", "start it with redis://"),
        ("RELIQ_URL", "", "start it with redis://"),
        ("RELIQ_LOG_LEVEL", "LOUD", "LOUD"),
        ("RELIQ_LOG_FORMAT", "xml", "log_format = 'xml': write console or json"),
        ("RELIQ_RESEND_FOR", "61", "resend_for = 61.0: at most 60 s"),
        ("RELIQ_MAX_PAYLOAD", "0", "max_payload = 0: give a number above 0"),
    ],
)
def test_the_environment_is_checked(
    reliq: Reliq, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    answer = reliq("worker", "-A", "jobs")
    assert answer.code == USAGE
    assert said in answer.line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("beet = 1.0", "reliq.toml: there is no setting 'beet'"),
        ("beat = 'often'", "reliq.toml: beat = 'often' is not valid"),
        ("concurrency = 'many'", "reliq.toml: concurrency = 'many' is not valid"),
        ("queues = ['mail,0']", "weight from 1 to 1000"),
        ("queues = 7", "reliq.toml: queues = 7 is not valid"),
        ("superfetch = 'maybe'", "superfetch = 'maybe' is not valid: write true or false"),
        ("url = 7", "7"),
        ("[redis]\nurl = 'redis://'", "reliq.toml: there is no setting 'redis'"),
        ("beat = ", "reliq.toml: "),
        ("beat = 1.0\nbeat = 2.0", "reliq.toml: "),
    ],
)
def test_the_file_is_checked(reliq: Reliq, home: Path, text: str, said: str) -> None:
    (home / "reliq.toml").write_text(text, encoding="utf-8")
    answer = reliq("worker", "-A", "jobs")
    assert answer.code == USAGE
    assert said in answer.line


def test_a_file_that_is_no_text(reliq: Reliq, home: Path) -> None:
    (home / "reliq.toml").write_bytes(b"\xff\xfe")
    assert "reliq.toml: " in reliq("status").line


def test_a_folder_in_place_of_the_file(reliq: Reliq, home: Path) -> None:
    (home / "reliq.toml").mkdir()
    answer = reliq("status")
    assert answer.code == USAGE
    assert "reliq.toml: " in answer.line


@pytest.mark.parametrize("text", ["[tool.reliq]\nbeet = 1", "[tool]\nreliq = 7"])
def test_the_projects_own_file_is_checked_too(reliq: Reliq, home: Path, text: str) -> None:
    (home / "pyproject.toml").write_text(text, encoding="utf-8")
    answer = reliq("worker", "-A", "jobs")
    assert answer.code == USAGE
    assert "pyproject.toml: " in answer.line


@pytest.mark.parametrize("text", ["tool = 7", "not toml", "[project]\nname = 'shop'"])
def test_a_project_file_without_our_table_is_none_of_our_business(reliq: Reliq, home: Path, text: str) -> None:
    (home / "pyproject.toml").write_text(text, encoding="utf-8")
    assert "no application" in reliq("worker").line


def test_a_pid_file_that_another_worker_holds(reliq: Reliq, home: Path) -> None:
    held = PidFile(home / "worker.pid")
    held.take()
    try:
        answer = reliq("worker", "-A", "jobs", "--pidfile", str(home / "worker.pid"))
        assert answer.code == USAGE
        assert "another worker runs with it" in answer.line
    finally:
        held.release()


def test_a_pid_file_that_cannot_be_written(reliq: Reliq, home: Path) -> None:
    below_a_file = home / "jobs.py" / "pids" / "worker.pid"
    answer = reliq("worker", "-A", "jobs", "--pidfile", str(below_a_file))
    assert answer.code == USAGE
    assert answer.line == f"--pidfile {below_a_file}: Not a directory"


@pytest.mark.parametrize("command", ["quiet", "stop"])
def test_there_is_no_worker_to_speak_to(reliq: Reliq, home: Path, command: str) -> None:
    assert reliq(command).code == 3
    answer = reliq(command, "--pidfile", str(home / "jobs.py"))
    assert answer.code == 3
    assert answer.line == f"no worker is running with {home}/jobs.py"
