"""The test equipment does what the tests rely on."""

import threading
from pathlib import Path

import psutil
import pytest
import redis

from chaos.eventually import eventually
from chaos.proxy import Proxy, named, script
from chaos.servers import Server
from tests.conftest import FreshServer
from tests.support.leaks import LeakCheck, alive, foreign_keys


def test_a_durable_server_keeps_what_it_acknowledged_over_a_kill(fresh_server: FreshServer) -> None:
    server = fresh_server(durable=True, settings={"maxmemory": "50mb"})
    with server.client() as client:
        client.rpush("queue:default", "job")
    server.restart()
    with server.client() as client:
        assert client.lrange("queue:default", 0, -1) == [b"job"]
        assert client.config_get("maxmemory") == {"maxmemory": str(50 * 1024 * 1024)}


def test_a_paused_server_answers_nothing_until_it_is_resumed(fresh_server: FreshServer) -> None:
    server = fresh_server(tcp=True)
    with server.client(socket_timeout=0.2) as client, redis.Redis.from_url(server.tcp_url) as by_tcp:
        server.pause()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        server.resume()
        assert client.ping()
        assert by_tcp.ping()


def test_a_closed_server_leaves_nothing(fresh_server: FreshServer) -> None:
    server = fresh_server()
    pid = server.pid
    server.close()
    assert not alive(pid)
    assert not server.directory.exists()


def test_eventually_tells_what_it_last_saw() -> None:
    with pytest.raises(AssertionError, match=r"not within 0.01 s: the moon; the last answer was 0"):
        eventually(lambda: 0, within=0.01, why="the moon")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("queue:default", None), ("{shop}:queue:default", None), ("scratch:mine", None), ("queu:default", "no row")],
)
def test_keys_are_known_by_the_key_table(redis_client: redis.Redis, name: str, wrong: str | None) -> None:
    redis_client.rpush(name, "x")
    found = foreign_keys(redis_client)
    assert (not found) if wrong is None else (wrong in found[0])
    redis_client.delete(name)


def test_a_heartbeat_without_end_and_a_queue_with_one_are_found(redis_client: redis.Redis) -> None:
    redis_client.set("heartbeat:host:1:0123456789ab", "7")
    redis_client.rpush("queue:default", "x")
    redis_client.expire("queue:default", 60)
    redis_client.set("dead", "x")
    found = sorted(foreign_keys(redis_client))
    assert ["never expires" in found[1], "expires in" in found[2], "is a string" in found[0]] == [True] * 3
    redis_client.flushall()


def test_the_leak_check_names_threads_processes_and_connections(server: Server, redis_client: redis.Redis) -> None:
    check = LeakCheck(server)
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="forgotten")
    thread.start()
    child = psutil.Popen(["sleep", "100"])
    redis_client.ping()
    with pytest.raises(AssertionError) as caught:
        check.finish(server, patience=0.2)
    end.set()
    thread.join()
    assert child.wait(5) == -9
    for name in ("thread forgotten", "sleep 100", "last command ping"):
        assert name in str(caught.value)


def test_the_proxy_hands_everything_on(proxy: Proxy) -> None:
    big = b"\r\n" * 500_000
    with proxy.client() as client, redis.Redis.from_url(proxy.tcp_url) as by_tcp:
        client.set("scratch:big", big)
        assert by_tcp.get("scratch:big") == big
        with client.pipeline() as pipe:
            for number in range(1000):
                pipe.rpush("scratch:list", number)
            assert pipe.execute()[-1] == 1000
        assert proxy.connections == 2


def test_the_proxy_loses_a_reply_after_the_command_was_applied(proxy: Proxy, redis_client: redis.Redis) -> None:
    with proxy.client() as client:
        sha = client.script_load("return redis.call('INCR', KEYS[1])")
        trap = proxy.drop_reply(script(sha))
        client.ping()
        with pytest.raises(redis.ConnectionError):
            client.evalsha(sha, 1, "scratch:n")
        assert trap.wait()[1] == sha.encode()
        assert trap.reply == b":1\r\n"
        assert redis_client.get("scratch:n") == b"1"
        assert client.evalsha(sha, 1, "scratch:n") == 2


def test_the_proxy_holds_a_command_and_delivers_it_later(proxy: Proxy, redis_client: redis.Redis) -> None:
    with proxy.client() as client:
        trap = proxy.hold(named("RPUSH"))
        with pytest.raises(redis.ConnectionError):
            client.rpush("scratch:list", "late")
        client.rpush("scratch:list", "early")
        assert proxy.deliver(trap) == b":2\r\n"
        assert redis_client.lrange("scratch:list", 0, -1) == [b"early", b"late"]


def test_the_proxy_cuts_and_refuses(proxy: Proxy) -> None:
    with proxy.client() as client:
        client.ping()
        proxy.refuse()
        client.ping()
        proxy.cut()
        for _ in range(2):
            with pytest.raises(redis.ConnectionError):
                client.ping()
        proxy.accept()
        client.ping()


def test_a_frozen_proxy_delivers_at_the_thaw(proxy: Proxy, redis_client: redis.Redis) -> None:
    with proxy.client(socket_timeout=0.2) as client:
        client.ping()
        proxy.freeze()
        with pytest.raises(redis.TimeoutError):
            client.rpush("scratch:list", "late")
    assert redis_client.llen("scratch:list") == 0
    proxy.thaw()
    eventually(lambda: redis_client.llen("scratch:list"), why="what was on its way arrives")


def test_sockets_have_short_paths(server: Server, proxy: Proxy) -> None:
    for path in (server.socket, proxy.socket):
        assert isinstance(path, Path)
        assert len(str(path)) < 100
