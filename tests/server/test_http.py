"""The small HTTP server: addresses, pages, and that no client can keep it from answering others."""

import http.client
import logging
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import pytest

from chaos.eventually import eventually
from reliq.errors import ConfigError
from reliq.server import http as module
from reliq.server.http import JSON, Answer, HttpServer, Page, Query, check_address


class Got(NamedTuple):
    """A response."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def ask(web: HttpServer, path: str, method: str = "GET", host: str = "127.0.0.1") -> Got:
    connection = http.client.HTTPConnection(host, web.port, timeout=5)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return Got(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    finally:
        connection.close()


def echo(query: Query) -> Answer:
    return Answer(200, ";".join(f"{name}={','.join(values)}" for name, values in query.items()), JSON)


def broken(query: Query) -> Answer:
    raise RuntimeError("a secret")


PAGES: dict[str, Page] = {
    "/live": lambda query: Answer(503, "no turn for 12 s\n"),
    "/echo": echo,
    "/broken": broken,
}


@pytest.fixture
def web() -> Iterator[HttpServer]:
    with HttpServer("127.0.0.1:0", PAGES) as made:
        yield made


# -- addresses


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:9797", ("127.0.0.1", 9797)),
        (":9797", ("", 9797)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:65535", ("localhost", 65535)),
    ],
)
def test_addresses(text: str, expected: tuple[str, int]) -> None:
    assert check_address(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "9797", "host", "host:", "host:x", "host:-1", "host:65536", "::1:80", "[::1]", "[::1", "[host]:1", "a b:1"],
)
def test_what_is_no_address_is_said(text: str) -> None:
    with pytest.raises(ConfigError, match="write HOST:PORT"):
        check_address(text)


def test_a_port_in_use_is_said_before_anything_starts(web: HttpServer) -> None:
    with pytest.raises(ConfigError, match=rf"^cannot listen at 127.0.0.1:{web.port}: Address already in use$"):
        HttpServer(web.address, {})


@pytest.mark.parametrize(
    ("address", "why"),
    [("203.0.113.1:0", "Cannot assign requested address"), ("x" * 64 + ":0", "the host is not a name")],
)
def test_an_address_that_is_not_here_is_said(address: str, why: str) -> None:
    with pytest.raises(ConfigError, match=f"^cannot listen at {address}: {why}$"):
        HttpServer(address, {})


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_all_interfaces_are_those_of_both_protocols(host: str) -> None:
    if host == "::1" and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    with HttpServer(":0", PAGES) as made:
        assert made.address == f"[::]:{made.port}" if socket.has_dualstack_ipv6() else f"0.0.0.0:{made.port}"
        assert ask(made, "/live", host=host).status == 503


def test_an_address_of_ipv6() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    with HttpServer("[::1]:0", PAGES) as made:
        assert made.address == f"[::1]:{made.port}"
        assert ask(made, "/live", host="::1").status == 503


# -- pages


def test_a_page_gives_status_body_and_type(web: HttpServer) -> None:
    live = ask(web, "/live")
    assert (live.status, live.body) == (503, b"no turn for 12 s\n")
    assert live.headers["content-type"] == "text/plain; charset=utf-8"
    assert live.headers["cache-control"] == "no-store"
    assert live.headers["server"] == "reliq"


def test_a_page_gets_the_query(web: HttpServer) -> None:
    got = ask(web, "/echo?queue=a&queue=b%20c&none=")
    assert got.body == b"queue=a,b c;none="
    assert got.headers["content-type"] == "application/json"
    assert ask(web, "/echo").body == b""


def test_head_has_the_headers_only(web: HttpServer) -> None:
    got = ask(web, "/live", "HEAD")
    assert (got.status, got.body) == (503, b"")
    assert got.headers["content-length"] == str(len("no turn for 12 s\n"))


def test_a_path_without_a_page_is_told_which_there_are(web: HttpServer) -> None:
    for path in ("/", "/live/", "//[", "/../live"):
        got = ask(web, path)
        assert (got.status, got.body) == (404, b"there is no such page; there are /broken, /echo, /live\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed(web: HttpServer, method: str) -> None:
    got = ask(web, "/live", method)
    assert (got.status, got.headers["allow"]) == (405, "GET, HEAD")


def test_a_page_that_fails_is_logged_and_the_next_one_answers(
    web: HttpServer, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    got = ask(web, "/broken")
    assert (got.status, got.body) == (500, b"an unexpected error; the log has more\n")
    assert [record.getMessage() for record in caplog.records] == ["/broken: unexpected error, going on"]
    assert ask(web, "/echo").status == 200
    assert capsys.readouterr() == ("", "")


# -- clients


def test_what_is_no_request_is_refused_in_plain_text(web: HttpServer, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        b"\x16\x03\x01 hello\r\n\r\n",
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"BREW / HTTP/1.1\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", web.port), timeout=5) as client:
            client.sendall(words)
            said = client.makefile("rb").read()
        assert b"<html" not in said.lower()
    assert ask(web, "/echo").status == 200
    assert capsys.readouterr() == ("", "")


def test_a_client_that_is_gone_leaves_no_trace(
    web: HttpServer, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    for _ in range(20):
        client = socket.create_connection(("127.0.0.1", web.port), timeout=5)
        client.sendall(b"GET /live HTTP/1.0\r\n\r\n")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # a reset instead of an end
        client.close()
    assert ask(web, "/live").status == 503
    assert caplog.records == []
    assert capsys.readouterr() == ("", "")


def test_one_that_is_silent_is_given_up(web: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module._Handler, "timeout", 0.05)
    with socket.create_connection(("127.0.0.1", web.port), timeout=5) as client:
        assert client.recv(1) == b""


def test_of_too_many_the_newest_is_closed_and_what_lasts_too_long_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    with HttpServer("127.0.0.1:0", PAGES) as web:
        slow = [socket.create_connection(("127.0.0.1", web.port), timeout=5) for _ in range(3)]
        for client in slow:
            client.sendall(b"GET /li")
        with pytest.raises((http.client.BadStatusLine, ConnectionError)):
            ask(web, "/live")
        monkeypatch.setattr(module, "LONGEST", 0.0)

        def answers() -> bool:
            try:
                return ask(web, "/live").status == 503
            except (http.client.BadStatusLine, ConnectionError):
                return False

        eventually(answers, 5, "there is room again")
        assert [client.recv(1) for client in slow] == [b"", b"", b""]
        for client in slow:
            client.close()


# -- the end


def test_close_cuts_what_is_open_and_ends_all_threads(web: HttpServer) -> None:
    port = web.port
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(b"GET /li")
        eventually(lambda: any(thread.name == "reliq-http-request" for thread in threading.enumerate()))
        web.close()
        assert client.recv(1) == b""
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("reliq-http")]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_one_that_was_never_started_can_be_closed_and_closed_again() -> None:
    web = HttpServer("127.0.0.1:0", PAGES)
    web.close()
    web.close()
