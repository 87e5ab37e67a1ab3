"""A small HTTP server in threads of its own: a few pages for probes, metrics and scalers, and nothing else.

Meant for the inside of a cluster: no TLS, no log of requests. It answers GET and HEAD, one request a connection. What
it takes is bounded: so many connections at a time, and each has seconds.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs

import attrs

from reliq.errors import ConfigError

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"

PATIENCE = 5.0
"""Seconds that a client may be silent."""

LONGEST = 10.0
"""Seconds that a connection may take in all, before it is cut to make room: a client may also be slow on purpose."""

MOST = 32
"""Connections at a time; kubelet, Prometheus and a scaler need one each. Further ones are closed."""

_log = logging.getLogger("reliq.http")


@attrs.frozen
class Answer:
    """What a page says: status, body and its type."""

    status: int
    body: bytes | str
    content_type: str = TEXT


Query = Mapping[str, Sequence[str]]
"""The parameters of a request, as in `?queue=a&queue=b`."""

Page = Callable[[Query], Answer]
"""Called in a thread of its own, several at the same time. What it raises is logged, and answered with 500."""


def check_address(text: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT`, `:PORT` (host '', all interfaces) or `[IPV6]:PORT`. Raises ConfigError."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    named = host.isprintable() and not any(letter in host for letter in "[]/ ")
    if not colon or not named or (":" in host) != bracketed or not _is_port(port):
        raise ConfigError(f"address {text!r}: write HOST:PORT, :PORT for all interfaces, or [IPV6]:PORT")
    return host, int(port)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535


class HttpServer:
    """Listens from the beginning, so that a port in use is said at once; serves from `start` on, until `close`.

    `pages` are the answers by path. Port 0 takes a free one: `address` says which. Raises ConfigError.
    """

    def __init__(self, address: str, pages: Mapping[str, Page]) -> None:
        host, port = check_address(address)
        self._server = _Server(_listen(address, host, port), pages)
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port it listens at."""
        return int(self._server.socket.getsockname()[1])

    @property
    def address(self) -> str:
        """Where it listens, as `127.0.0.1:9797` or `[::]:9797`."""
        host = self._server.socket.getsockname()[0]
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread = threading.Thread(target=self._server.serve_forever, name="reliq-http", daemon=True)
        self._thread.start()

    def close(self, within: float = 2.0) -> None:
        """Answer no more, and cut what is open; a page that still works may have so many seconds to notice."""
        if self._thread is not None:
            # That wakes the thread, which else looks only twice a second whether it shall end.
            with contextlib.suppress(OSError):
                self._server.socket.shutdown(socket.SHUT_RDWR)
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self._server.server_close()
        self._server.cut_all(within)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _listen(address: str, host: str, port: int) -> socket.socket:
    try:
        if not host:
            both = socket.has_dualstack_ipv6()  # where there is no IPv6, IPv4 alone
            family = socket.AF_INET6 if both else socket.AF_INET
            return socket.create_server(("", port), family=family, dualstack_ipv6=both, backlog=MOST)
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=MOST)
    except socket.gaierror as error:
        raise ConfigError(f"cannot listen at {address}: {error.strerror}") from None
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)  # its own text names the address once more
        raise ConfigError(f"cannot listen at {address}: {why}") from None
    except UnicodeError:
        raise ConfigError(f"cannot listen at {address}: the host is not a name") from None


class _Server(socketserver.TCPServer):
    """A thread for each connection; it knows them all."""

    def __init__(self, listener: socket.socket, pages: Mapping[str, Page]) -> None:
        super().__init__(listener.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()  # the base class makes one without asking
        self.socket = listener
        self.pages = pages
        self._open: dict[Any, tuple[threading.Thread, float]] = {}  # with the time of its beginning
        self._lock = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, if there is room for one."""
        now = time.monotonic()
        thread = threading.Thread(
            target=self._answer, args=(request, client_address), name="reliq-http-request", daemon=True
        )
        with self._lock:
            for connection, (_, began) in self._open.items():
                if now - began > LONGEST:
                    _cut(connection)
            full = len(self._open) >= MOST
            if not full:
                thread.start()
                self._open[request] = thread, now
        if full:
            self.shutdown_request(request)

    def _answer(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except OSError:
            pass  # the client is gone, or was cut
        except Exception:  # noqa: BLE001 - logged, and the server goes on
            _log.exception("a request could not be answered")
        finally:
            self.shutdown_request(request)
            with self._lock:
                self._open.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - socketserver's signature
        """Log what a connection could not be taken for, instead of printing it."""
        _log.warning("a connection could not be taken", exc_info=True)

    def cut_all(self, within: float) -> None:
        """Cut all connections, and wait for their threads."""
        until = time.monotonic() + within
        with self._lock:
            left = [(connection, thread) for connection, (thread, _) in self._open.items()]
        for connection, _ in left:
            _cut(connection)
        for _, thread in left:
            thread.join(max(0.0, until - time.monotonic()))


def _cut(connection: socket.socket) -> None:
    # Whoever waits for it wakes up, and closes it.
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """One request. HTTP/1.0: the connection ends with the answer."""

    server: _Server
    timeout = PATIENCE
    error_content_type = TEXT
    error_message_format = "%(code)d %(message)s\n"

    def version_string(self) -> str:
        """Return what stands in the header `Server`."""
        return "reliq"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's signature
        """Say nothing: a probe comes every few seconds."""

    def do_GET(self) -> None:
        """Answer with the page of the path."""
        path, _, query = self.path.partition("?")
        page = self.server.pages.get(path)
        if page is None:
            paths = ", ".join(sorted(self.server.pages))
            self._send(Answer(HTTPStatus.NOT_FOUND, f"there is no such page; there are {paths}\n"))
            return
        try:
            answer = page(parse_qs(query, keep_blank_values=True))
        except Exception:  # noqa: BLE001 - logged, and the server goes on
            _log.exception("%s: unexpected error, going on", path)
            answer = Answer(HTTPStatus.INTERNAL_SERVER_ERROR, "an unexpected error; the log has more\n")
        self._send(answer)

    do_HEAD = do_GET  # noqa: N815 - the base class looks for this name

    def _refuse(self) -> None:
        self._send(Answer(HTTPStatus.METHOD_NOT_ALLOWED, "GET and HEAD only\n"), {"Allow": "GET, HEAD"})

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _refuse  # noqa: N815

    def _send(self, answer: Answer, headers: Mapping[str, str] | None = None) -> None:
        body = answer.body.encode() if isinstance(answer.body, str) else answer.body
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
