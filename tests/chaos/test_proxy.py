"""What the proxy can do beyond what the other tests need: strike at a command, by its sender; one way only; slowly."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
import redis

from chaos.eventually import eventually
from chaos.proxy import Command, Proxy, named


def test_a_strike_before_a_command_keeps_it_back(proxy: Proxy, redis_client: redis.Redis) -> None:
    struck: list[int] = []
    with proxy.client() as client:
        trap = proxy.strike(named("RPUSH"), "before", struck.append)
        with pytest.raises(redis.ConnectionError):
            client.rpush("scratch:list", "x")
        trap.wait()
    assert struck == [os.getpid()]
    assert redis_client.llen("scratch:list") == 0


def test_a_strike_after_a_command_comes_before_its_reply(proxy: Proxy, redis_client: redis.Redis) -> None:
    seen: list[int] = []
    with proxy.client() as client:
        proxy.strike(named("RPUSH"), "after", lambda _: seen.append(redis_client.llen("scratch:list")))
        with pytest.raises(redis.ConnectionError):
            client.rpush("scratch:list", "x")
    assert seen == [1]


def test_a_strike_may_let_the_reply_pass(proxy: Proxy) -> None:
    struck: list[int] = []
    with proxy.client() as client:
        proxy.strike(named("RPUSH"), "passed", struck.append)
        assert client.rpush("scratch:list", "x") == 1
        eventually(lambda: struck, why="the strike comes right after")


def test_a_strike_may_wait_for_a_certain_reply(proxy: Proxy) -> None:
    struck: list[int] = []

    def brings(bulks: Command) -> bool:
        return b"job" in bulks

    with proxy.client() as client:
        proxy.strike(named("LPOP"), "after", struck.append, brings)
        assert client.lpop("scratch:list") is None
        client.rpush("scratch:list", "job")
        assert not struck
        with pytest.raises(redis.ConnectionError):
            client.lpop("scratch:list")
        assert struck == [os.getpid()]
        assert client.lpop("scratch:list") is None, "the trap is used up"


def test_the_sender_is_known_by_its_process(proxy: Proxy) -> None:
    text = f"import redis; redis.Redis(unix_socket_path={str(proxy.socket)!r}, retry=None).ping()"
    struck: list[int] = []
    proxy.strike(named("PING"), "before", struck.append, sender=lambda pid: pid != os.getpid())
    with proxy.client() as client:
        assert client.ping()
        other = subprocess.Popen([sys.executable, "-c", text], stderr=subprocess.DEVNULL)
        other.wait(20)
    assert struck == [other.pid]


def test_a_trap_that_is_disarmed_catches_nothing(proxy: Proxy) -> None:
    with proxy.client() as client:
        trap = proxy.drop_reply(named("PING"))
        assert proxy.disarm(trap)
        assert client.ping()
        trap = proxy.drop_reply(named("PING"))
        with pytest.raises(redis.ConnectionError):
            client.ping()
        assert not proxy.disarm(trap), "it was sprung before"


def test_commands_may_pass_while_replies_do_not(proxy: Proxy, redis_client: redis.Redis) -> None:
    with proxy.client(socket_timeout=0.3) as client:
        client.ping()
        proxy.freeze(commands=False)
        with pytest.raises(redis.TimeoutError):
            client.rpush("scratch:list", "x")
        assert redis_client.llen("scratch:list") == 1
        proxy.thaw()


def test_replies_may_pass_while_commands_do_not(proxy: Proxy, redis_client: redis.Redis) -> None:
    with proxy.client(socket_timeout=0.3) as client:
        client.ping()
        proxy.freeze(replies=False)
        with pytest.raises(redis.TimeoutError):
            client.rpush("scratch:list", "x")
        assert redis_client.llen("scratch:list") == 0
    proxy.thaw()
    eventually(lambda: redis_client.llen("scratch:list") == 1)


def test_each_way_may_take_longer(proxy: Proxy) -> None:
    with proxy.client() as client:
        client.ping()
        proxy.delay = 0.05
        began = time.monotonic()
        client.ping()
        assert time.monotonic() - began >= 0.1
        proxy.delay = 0.0


def test_scripts_are_known_by_their_first_line(proxy: Proxy) -> None:
    with proxy.client() as client:
        sha = client.script_load("-- turn: says one\nreturn 1")
        client.evalsha(sha, 0)
        client.client_id()
        proxy.drop_reply(lambda command: proxy.scripts.name(command) == "turn")
        with pytest.raises(redis.ConnectionError):
            client.evalsha(sha, 0)
    assert proxy.seen["turn"] == 2
    assert proxy.seen["CLIENT ID"] >= 1
    assert proxy.dropped == {"turn": 1}
