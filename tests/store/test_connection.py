"""reliq.store.connection: every command is sent once, and every failure says what it is."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import redis

from chaos.eventually import eventually
from chaos.proxy import Proxy, named, script
from chaos.servers import Server, free_port
from reliq.config import Config, shown_url
from reliq.errors import ConfigError, OldServer, Refused, StoreError, Unreachable
from reliq.store.connection import Link, check_server, memory_policy
from reliq.store.opening import Store
from reliq.store.scripts import Library
from tests.conftest import FreshServer
from tests.store.conftest import OpenStore


@contextmanager
def answering(reply: bytes) -> Iterator[str]:
    """A server that answers everything with these bytes, once per connection; yields its URL."""
    door = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = door.accept()
            except OSError:
                return
            with client:
                client.recv(65536)
                client.sendall(reply)
                client.recv(65536)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"redis://127.0.0.1:{door.getsockname()[1]}/0"
    finally:
        door.shutdown(socket.SHUT_RDWR)
        door.close()
        thread.join()


def failure(link: Link, *command: str) -> StoreError:
    """How a command fails; its connection is closed afterwards."""
    with pytest.raises(StoreError) as caught:
        link.call(*command)
    link.close()
    assert "\n" not in str(caught.value)
    return caught.value


def code_of(link: Link, *command: str) -> str:
    """The code that a command is refused with."""
    error = failure(link, *command)
    assert isinstance(error, Refused), error
    return error.code


# -- refusals of real servers


def test_replies_are_bytes_numbers_lists_and_none(link: Link) -> None:
    assert link.call("ECHO", b"\xff\x00") == b"\xff\x00"
    assert link.call("RPUSH", "queue:mail", "a", "b") == 2
    assert link.call("LRANGE", "queue:mail", 0, -1) == [b"a", b"b"]
    assert link.call("GET", "fence") is None


@pytest.mark.parametrize("by", ["unix", "tcp"])
def test_passwords(by: str, fresh_server: FreshServer, open_store: OpenStore) -> None:
    server = fresh_server(tcp=True, settings={"requirepass": "s3cret"})
    with server.client(password="s3cret") as client:
        client.acl_setuser("shop", enabled=True, passwords=["++w0rd"], keys=["*"], commands=["+@all"])

    def at(user: str) -> Link:
        return open_store(
            f"unix://{user}{server.socket}" if by == "unix" else server.tcp_url.replace("//", "//" + user)
        ).link("t")

    for user in (":s3cret@", "default:s3cret@", "shop:%2Bw0rd@"):
        with closing(at(user)) as link:
            assert link.call("PING") == b"PONG"
    missing = failure(at(""), "PING")
    assert isinstance(missing, Refused)
    assert missing.code == "NOAUTH"
    assert str(missing).startswith("Redis wants a password; put it into the URL: redis://:PASSWORD@host.")
    for user in (":wr0ng@", "shop:wr0ng@", "nobody:wr0ng@"):
        wrong = failure(at(user), "PING")
        assert isinstance(wrong, Refused)
        assert wrong.code == "WRONGPASS"
        assert str(wrong).startswith("Redis refused the user or password in the URL.")
        assert "wr0ng" not in str(wrong)


def test_a_user_who_may_not(server: Server, redis_client: redis.Redis, open_store: OpenStore) -> None:
    redis_client.acl_setuser(
        "weak", enabled=True, nopass=True, keys=["queue:*"], commands=["+ping", "+lpush", "+info|server"]
    )
    try:
        link = open_store(f"unix://weak:x@{server.socket}").link("t")
        assert link.call("LPUSH", "queue:mail", "a") == 1
        assert code_of(link, "LPUSH", "queues", "a") == "NOPERM"
        assert code_of(link, "EVALSHA", "0" * 40, "0") == "NOPERM"
        assert str(failure(link, "CLIENT", "ID")).startswith(
            "Redis does not allow this user a command that reliq needs"
        )
        assert link.identify() is None
        assert memory_policy(link) is None
        link.close()
    finally:
        redis_client.acl_deluser("weak")


def test_a_server_that_may_not_be_asked_who_it_is(
    redis_client: redis.Redis, server: Server, open_store: OpenStore
) -> None:
    redis_client.acl_setuser("weak", enabled=True, nopass=True, keys=["*"], commands=["+ping"])
    try:
        with closing(open_store(f"unix://weak:x@{server.socket}").link("t")) as link:
            assert check_server(link) == ""
    finally:
        redis_client.acl_deluser("weak")


def test_refusals_of_a_running_server(server: Server, link: Link, redis_client: redis.Redis) -> None:
    link.call("SET", "fence", "1")
    assert code_of(link, "LPUSH", "fence", "a") == "WRONGTYPE"
    assert code_of(link, "EVAL", "return redis.call('LPUSH', KEYS[1], 'a')", "1", "fence") == "WRONGTYPE"
    assert code_of(link, "EVALSHA", "0" * 40, "0") == "NOSCRIPT"
    assert code_of(link, "GET") == "ERR"
    server.config(maxmemory=1)
    try:
        full = failure(link, "SET", "fence", "2")
        assert isinstance(full, Refused)
        assert full.code == "OOM"
        assert str(full).startswith("Redis is full (maxmemory). Nothing was stored; running jobs and the queues drain.")
        assert code_of(link, "EVAL", "return redis.call('SET', KEYS[1], 'a')", "1", "fence") == "OOM"
    finally:
        server.config(maxmemory=0)


def test_refusals_of_a_replica_without_primary(fresh_server: FreshServer, open_store: OpenStore) -> None:
    server = fresh_server()
    with server.client() as client, closing(open_store(server.url).link("t")) as link:
        link.call("REPLICAOF", "127.0.0.1", "1")
        assert code_of(link, "SET", "fence", "1") == "READONLY"
        assert code_of(link, "EVAL", "return redis.call('SET', KEYS[1], 'a')", "1", "fence") == "READONLY"
        client.config_set("replica-serve-stale-data", "no")
        assert code_of(link, "GET", "fence") == "MASTERDOWN"
        link.call("REPLICAOF", "NO", "ONE")
        client.config_set("min-replicas-to-write", 1)
        assert code_of(link, "SET", "fence", "1") == "NOREPLICAS"


def test_a_server_that_is_busy(fresh_server: FreshServer, open_store: OpenStore) -> None:
    server = fresh_server(settings={"lua-time-limit": "1"})
    with server.client() as client, closing(open_store(server.url).link("t")) as link:
        link.call("PING")
        with socket.socket(socket.AF_UNIX) as endless:
            endless.connect(str(server.socket))
            endless.sendall(b'EVAL "while true do end" 0\r\n')

            def busy() -> bool:
                try:
                    return not link.call("PING")
                except Refused as refusal:
                    return refusal.code == "BUSY"

            eventually(busy)
            client.script_kill()


def test_a_server_of_a_cluster(fresh_server: FreshServer, open_store: OpenStore) -> None:
    server = fresh_server(settings={"cluster-enabled": "yes"})
    with closing(open_store(server.url).link("t")) as link:
        assert code_of(link, "SET", "fence", "1") == "CLUSTERDOWN"


# -- refusals that a real server does not give on demand


@pytest.mark.parametrize(
    ("reply", "code", "text"),
    [
        ("LOADING Redis is loading the dataset in memory", "LOADING", "Redis is still loading its data."),
        ("MISCONF Redis is configured to save", "MISCONF", "Redis cannot write its data to disk and refuses writes"),
        ("MOVED 3999 127.0.0.1:6381", "MOVED", "Redis refused: "),
        ("ASK 3999 127.0.0.1:6381", "ASK", "Redis refused: "),
        ("CROSSSLOT Keys in request don't hash to the same slot", "CROSSSLOT", "Redis refused: "),
        ("TRYAGAIN Multiple keys request during rehashing", "TRYAGAIN", "Redis refused: "),
        ("UNBLOCKED client unblocked via CLIENT UNBLOCK", "UNBLOCKED", "Redis refused: "),
        ("ERR Error running script (call to f_0): @user_script:1: -OOM command not allowed", "OOM", "Redis is full"),
        ("ERR Error running script (call to f_0): @user_script:1: -READONLY You can't", "READONLY", "this Redis is a"),
        ("BUSYGROUP Consumer Group name already exists", "ERR", "Redis refused: BUSYGROUP"),
        (
            "ERR unknown command `LMOVE`, with args beginning with:",
            "OLD",
            "this server is too old: reliq needs Redis 6.2",
        ),
        ("ERR @user_script: 1: Unknown Redis command called from Lua script", "OLD", "this server is too old: "),
    ],
)
def test_other_refusals(reply: str, code: str, text: str, open_store: OpenStore) -> None:
    with answering(f"-{reply}\r\n".encode()) as url:
        error = failure(open_store(url).link("t"), "PING")
    assert isinstance(error, Refused)
    assert error.code == code
    assert str(error).startswith(text)
    assert isinstance(error, OldServer) == (code == "OLD")


def test_no_room_for_another_client(fresh_server: FreshServer, open_store: OpenStore) -> None:
    server = fresh_server(settings={"maxclients": "1"})
    with server.client() as client:
        client.ping()
        link = open_store(server.url).link("t")
        assert isinstance(failure(link, "PING"), Unreachable)
        client.config_set("maxclients", 10)
        assert link.call("PING") == b"PONG"
        link.close()


def test_what_is_no_redis(open_store: OpenStore) -> None:
    with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as url, closing(open_store(url).link("t")) as link:
        failure(link, "PING")


# -- the age of a server


def info(version: str) -> bytes:
    """The reply of a server of this version to INFO."""
    text = f"# Server\r\nredis_version:{version}\r\nrun_id:abc\r\n"
    return f"${len(text)}\r\n{text}\r\n".encode()


@pytest.mark.parametrize("version", ["5.0.7", "6.0.16", "6.1.240"])
def test_an_old_server(version: str, open_store: OpenStore) -> None:
    with (
        answering(info(version)) as url,
        closing(open_store(url).link("t")) as link,
        pytest.raises(OldServer) as caught,
    ):
        check_server(link)
    assert str(caught.value) == f"this server is Redis {version}: reliq needs 6.2 or newer, or Valkey"


@pytest.mark.parametrize("version", ["6.2.0", "7.2.4", "10.0.0", "255.255.255", "next"])
def test_a_server_that_is_new_enough(version: str, open_store: OpenStore) -> None:
    with answering(info(version)) as url, closing(open_store(url).link("t")) as link:
        assert check_server(link) == "abc"


def test_this_server(link: Link, redis_client: redis.Redis) -> None:
    assert check_server(link) == redis_client.info("server")["run_id"]
    assert memory_policy(link) == "noeviction"


# -- no answer


@pytest.mark.parametrize(
    "url", ["unix:///tmp/reliq-nobody/s", "redis://127.0.0.1:{port}/0", "redis://nowhere.invalid/0"]
)
def test_nobody_answers(url: str, open_store: OpenStore) -> None:
    url = url.format(port=free_port())
    error = failure(open_store(url).link("t"), "PING")
    assert isinstance(error, Unreachable)
    assert str(error).startswith(f"no answer from Redis at {url}: ")


def test_a_lost_reply_is_told_and_nothing_is_sent_again(
    proxy: Proxy, open_store: OpenStore, redis_client: redis.Redis
) -> None:
    link = open_store(proxy.url).link("t")
    assert link.call("INCR", "fence") == 1
    proxy.drop_reply(named("INCR"))
    with pytest.raises(Unreachable):
        link.call("INCR", "fence")
    assert not link.open
    assert redis_client.get("fence") == b"2"
    assert link.call("INCR", "fence") == 3
    link.close()


def test_a_connection_that_broke_while_idle_is_told_and_made_anew(proxy: Proxy, open_store: OpenStore) -> None:
    link = open_store(proxy.url).link("t")
    link.call("PING")
    proxy.cut()
    with pytest.raises(Unreachable):
        link.call("PING")
    assert link.call("PING") == b"PONG"
    link.close()


def test_a_late_answer_is_not_taken_for_the_next_one(fresh_server: FreshServer, open_store: OpenStore) -> None:
    server = fresh_server()
    link = open_store(server.url, command_timeout=0.1).link("t")
    link.call("PING")
    server.pause()
    with pytest.raises(Unreachable):
        link.call("ECHO", "late")
    assert not link.open
    server.resume()
    assert link.call("ECHO", "next") == b"next"
    link.close()


def test_a_script_is_given_to_a_server_that_does_not_know_it(
    store: Store, link: Link, proxy: Proxy, open_store: OpenStore
) -> None:
    link.call("SCRIPT", "FLUSH")
    keys, name = store.keys, "web:7:0123456789ab"
    assert store.scripts(link).fence(heartbeat=keys.heartbeat(name), fence=keys.fence)
    far = open_store(proxy.url).link("t")
    trap = proxy.drop_reply(script(Library.load().shas["fence"]))
    with pytest.raises(Unreachable):
        store.scripts(far).fence(heartbeat=keys.heartbeat(name), fence=keys.fence)
    assert (trap.reply or b"").startswith(b"$16")
    far.close()


# -- several at once, and who one is


def test_many_commands_in_one_go(link: Link) -> None:
    replies = link.call_many([("SET", "fence", "1"), ("LPUSH", "fence", "a"), ("GET", "fence"), ("GET",)])
    assert (replies[0], replies[2]) == (b"OK", b"1")
    assert [reply.code for reply in (replies[1], replies[3]) if isinstance(reply, Refused)] == ["WRONGTYPE", "ERR"]
    assert link.call_many([]) == []
    assert link.call("ECHO", "x") == b"x"


def test_a_connection_knows_its_number(link: Link, redis_client: redis.Redis) -> None:
    number = link.identify()
    assert number in {int(client["id"]) for client in redis_client.client_list()}
    assert link.identify() == number
    link.close()
    assert link.client_id is None
    assert (link.identify() or 0) > (number or 0)


def test_its_file_can_be_waited_for(link: Link) -> None:
    link.send("ECHO", "x")
    with socket.socket(fileno=link.fileno()) as same:
        same.setblocking(True)
        assert same.recv(1, socket.MSG_PEEK) == b"$"
        same.detach()
    assert link.receive() == b"x"


def test_a_closed_connection_has_no_answer(link: Link) -> None:
    link.send("ECHO", "x")
    link.close()
    with pytest.raises(Unreachable):
        link.receive()


# -- URLs


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h:1/0", "redis://h:1/0"),
        ("redis://:s3cret@h:1/0", "redis://:***@h:1/0"),
        ("redis://me:s3cret@h", "redis://me:***@h"),
        ("redis://me@h", "redis://me@h"),
        ("rediss://me:s3@cret@h/1?a=b", "rediss://me:***@h/1?a=b"),
        ("unix://:s3cret@/tmp/s", "unix://:***@/tmp/s"),
        ("unix:///tmp/s", "unix:///tmp/s"),
    ],
)
def test_a_password_is_not_shown(url: str, shown: str) -> None:
    assert shown_url(url) == shown
    assert Store(Config(url=url)).shown == shown


def test_errors_show_no_password(open_store: OpenStore) -> None:
    error = failure(open_store(f"redis://me:s3cret@127.0.0.1:{free_port()}/0").link("t"), "PING")
    assert "me:***@127.0.0.1" in str(error)
    assert "s3cret" not in str(error)


def test_a_url_that_cannot_be_used() -> None:
    with pytest.raises(ConfigError) as caught:
        Store(Config(url="redis://me:s3cret@h:port")).link("t")
    assert str(caught.value).startswith("Redis URL 'redis://me:***@h:port': ")


def test_the_scripts_are_found(tmp_path: Path) -> None:
    library = Library.load()
    assert {"turn", "enqueue", "reap"} <= set(library.texts)
    assert all(len(sha) == 40 for sha in library.shas.values())
