"""One connection to Redis that sends every command exactly once.

redis-py resends by itself, up to ten times; here it is told not to, everywhere. Who may send a command again is
decided above, where it is known what a second application would do: `queue.py` for producers, the turn's number
for workers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import hiredis
import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from reliq.config import Config, shown_url
from reliq.errors import ConfigError, OldServer, Refused, StoreError, Unreachable

OLDEST = (6, 2)
"""The first Redis with LMOVE."""

_CODES = {
    exceptions.AuthenticationError: "WRONGPASS",
    exceptions.AuthenticationWrongNumberOfArgsError: "NOAUTH",
    exceptions.BusyLoadingError: "LOADING",
    exceptions.NoPermissionError: "NOPERM",
    exceptions.NoScriptError: "NOSCRIPT",
    exceptions.OutOfMemoryError: "OOM",
    exceptions.ReadOnlyError: "READONLY",
}
_HINTS = {
    "OOM": "Redis is full (maxmemory). Nothing was stored; running jobs and the queues drain. Give it more memory.",
    "WRONGPASS": "Redis refused the user or password in the URL.",
    "NOAUTH": "Redis wants a password; put it into the URL: redis://:PASSWORD@host.",
    "NOPERM": "Redis does not allow this user a command that reliq needs; extend its ACL.",
    "READONLY": "this Redis is a read-only replica; point the URL at the primary.",
    "LOADING": "Redis is still loading its data.",
    "MISCONF": "Redis cannot write its data to disk and refuses writes; look at its log.",
}
_RECONNECT = {"NOAUTH", "WRONGPASS", "READONLY", "MASTERDOWN"}
"""After a fail-over the same name leads to another server, but only a new connection finds it."""

_KNOWN = re.compile(
    r"-?\b(OOM|READONLY|MISCONF|NOREPLICAS|NOPERM|WRONGTYPE|MASTERDOWN|CLUSTERDOWN|LOADING|BUSY|NOSCRIPT|NOAUTH|WRONGPASS"
    r"|MOVED|ASK|TRYAGAIN|CROSSSLOT|UNBLOCKED)\b"
)


class Link:
    """One connection to Redis, made when it is first needed, given up on any error.

    Not for several threads at once. Replies are bytes, ints, lists and None. Every failure is a StoreError;
    after Unreachable it is unknown whether the command was applied, and the connection is closed.
    """

    def __init__(self, url: str, config: Config, name: str = "reliq") -> None:
        self.url = url
        self.name = name
        self._config = config
        # redis-py's connection; Any, because its methods have no types.
        self._made: Any = None
        self._pool = _pool(url, config)
        self.client_id: int | None = None
        self.run_id = ""
        """The run of the server that gave `client_id`; empty where it may not be asked."""
        self.generation = 0
        """How many connections were made."""
        self.former: list[tuple[str, int]] = []
        """Server's runs and ids of connections that were closed, until somebody has made sure that they are dead."""

    @property
    def open(self) -> bool:
        """True while a connection is there."""
        return self._made is not None

    def fileno(self) -> int:
        """Return the socket's file descriptor, for a selector. Connects if need be."""
        sock = self._connection()._get_socket()  # noqa: SLF001 - it has no public way to wait on one
        if sock is None:
            raise Unreachable(f"no connection to Redis at {shown_url(self.url)}")
        return int(sock.fileno())

    def call(self, *command: Any) -> Any:
        """Send one command and return its reply."""
        self.send(*command)
        return self.receive()

    def call_many(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Send commands in one go and return their replies; a refused one gives its Refused as the reply."""
        connection = self._connection()
        try:
            connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        except exceptions.RedisError as error:
            raise self._failed(error) from None
        replies: list[Any] = []
        for _ in commands:
            try:
                replies.append(self.receive())
            except Refused as refusal:
                if self._made is None:
                    raise  # this refusal is about the connection as a whole
                replies.append(refusal)
        return replies

    def call_all(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Send commands in one go and return their replies; raises the first refusal among them."""
        replies = self.call_many(commands) if commands else []
        for reply in replies:
            if isinstance(reply, StoreError):
                raise reply
        return replies

    def call_atomic(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Send commands as one transaction and return their replies; raises the first refusal among them."""
        replies: list[Any] = self.call_all([("MULTI",), *commands, ("EXEC",)])[-1]
        for reply in replies:
            if isinstance(reply, exceptions.RedisError):
                raise self._failed(reply)
        return replies

    def send(self, *command: Any) -> None:
        """Send one command; `receive` must follow."""
        connection = self._connection()
        try:
            # By hiredis itself: the connection's packer would look at each of a thousand payloads first.
            connection.send_packed_command((hiredis.pack_command(command),), check_health=False)
        except exceptions.RedisError as error:
            raise self._failed(error) from None
        except BaseException:
            self.close()  # interrupted half-way: the next reply on it would be somebody else's
            raise

    def receive(self) -> Any:
        """Return the next reply, waiting for it at most `command_timeout` seconds."""
        if self._made is None:
            raise Unreachable(f"the connection to Redis at {shown_url(self.url)} was closed")
        try:
            return self._made.read_response(disconnect_on_error=False)
        except exceptions.RedisError as error:
            raise self._failed(error) from None
        except BaseException:
            self.close()
            raise

    def identify(self) -> int | None:
        """Return the server's id of this connection; None where CLIENT is refused."""
        if self.client_id is None:
            try:
                number = int(self.call("CLIENT", "ID"))
            except Refused:
                return None
            # Over the same connection, and so of the same run.
            self.run_id = check_server(self)
            self.client_id = number
        return self.client_id

    def close(self) -> None:
        """Close the connection; the next command makes a new one."""
        made, self._made = self._made, None
        if self.client_id is not None:
            self.former.append((self.run_id, self.client_id))
            self.client_id = None
        if made is not None:
            made.disconnect()

    def _connection(self) -> Any:
        if self._made is None:
            try:
                made: Any = self._pool.make_connection()
                made.connect()
            except exceptions.RedisError as error:
                raise self._failed(error) from None
            except TypeError as error:
                # An option in the URL that redis-py does not know reaches its constructor.
                raise ConfigError(f"Redis URL {shown_url(self.url)!r}: {error}") from None
            self._made = made
            self.generation += 1
        return self._made

    def _failed(self, error: exceptions.RedisError) -> StoreError:
        translated = translate(error, self.url)
        if isinstance(translated, Unreachable) or translated.code in _RECONNECT:
            self.close()
        return translated


def _pool(url: str, config: Config) -> redis.ConnectionPool:
    # Never used as a pool: it is redis-py's parser of URLs, and the maker of its connections.
    try:
        return redis.ConnectionPool.from_url(
            url,
            # It counts the connections it ever made, and its default of 100 would end a link after 100 reconnects.
            max_connections=2**31,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            retry_on_timeout=False,
            socket_timeout=config.command_timeout,
            socket_connect_timeout=config.connect_timeout,
            health_check_interval=0,
            driver_info=None,
            **({} if url.startswith("unix://") else {"socket_keepalive": True}),
        )
    except ValueError as error:
        raise ConfigError(f"Redis URL {shown_url(url)!r}: {error}") from None


def translate(error: exceptions.RedisError, url: str) -> Unreachable | Refused:
    """Return reliq's error for one of redis-py's."""
    text = str(error)
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return _refused(code if error.status_code in (None, "ERR") else error.status_code, text)
    if isinstance(error, exceptions.ConnectionError | exceptions.TimeoutError):
        return Unreachable(f"no answer from Redis at {shown_url(url)}: {text or type(error).__name__}")
    if "unknown command" in text.lower() or "Unknown Redis command" in text:
        return OldServer(f"this server is too old: reliq needs Redis 6.2 or newer, or Valkey ({text})", "OLD")
    found = _KNOWN.search(f"{error.status_code} {text}")  # of some errors redis-py cuts the code off the text
    return _refused(found.group(1) if found else "ERR", text)


def _refused(code: str, text: str) -> Refused:
    hint = _HINTS.get(code)
    return Refused(f"{hint} ({text})" if hint else f"Redis refused: {text}", code)


def info(link: Link, section: str) -> dict[str, str]:
    """Return what the server says about itself in a section of INFO: its fields by name."""
    lines = link.call("INFO", section).decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def check_server(link: Link) -> str:
    """Return the server's run id, after making sure that it is new enough. Empty where INFO is refused.

    Raises OldServer below Redis 6.2.
    """
    try:
        fields = info(link, "server")
    except Refused as refusal:
        if refusal.code == "NOPERM":
            return ""
        raise
    version = fields.get("redis_version", "")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if len(numbers) == 2 and numbers < OLDEST:
        raise OldServer(f"this server is Redis {version}: reliq needs 6.2 or newer, or Valkey", "OLD")
    return fields.get("run_id", "")


def disconnect(link: Link, clients: Iterable[tuple[str, int]]) -> None:
    """Close connections from the server's side, where that is allowed. Each is given as the server's run and its id.

    Those of another run are dead already, and others may have their ids by now. Where the run cannot be asked none
    is closed.
    """
    known = {(run, number) for run, number in clients if run}
    if not known:
        return
    now = check_server(link)
    # A link makes no new connection between two commands that succeed: this is still the run that answered.
    link.call_many([("CLIENT", "KILL", "ID", number) for run, number in known if run == now])


def memory_policy(link: Link) -> str | None:
    """Return the server's maxmemory policy, None where it may not be asked."""
    try:
        return info(link, "memory").get("maxmemory_policy")
    except Refused:
        return None
