"""What the doctor says about time-outs, scripts and connections."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import redis

from chaos.servers import Server
from reliq.doctor import Level
from tests.conftest import FreshServer
from tests.doctor.conftest import Doctor, Enter


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"timeout": "1"}, {"idle-timeout"}),
        ({"timeout": "5"}, {"long-idle-timeout"}),
        ({"lua-time-limit": "100"}, {"short-scripts"}),
        ({"lua-time-limit": "0"}, {"ok"}),
        ({"timeout": "1", "lua-time-limit": "100"}, {"idle-timeout", "short-scripts"}),
    ],
)
def test_the_time_outs_of_the_server(
    doctor: Doctor, fresh_server: FreshServer, settings: dict[str, str], names: set[str]
) -> None:
    assert doctor("timeouts", url=fresh_server(settings=settings).url).keys() == names


def test_scripts_of_somebody_else_pile_up(doctor: Doctor, fresh_server: FreshServer) -> None:
    server = fresh_server()
    with server.client() as client, client.pipeline(transaction=False) as pipe:
        for number in range(1001):
            pipe.script_load(f"return {number}")
        pipe.execute()
    found = doctor("scripts", url=server.url)["scripts-pile-up"]
    assert found.what.startswith("1,001 scripts")


def test_the_scripts_that_are_cached_are_counted(doctor: Doctor, enter: Enter, redis_client: redis.Redis) -> None:
    redis_client.script_flush()
    assert doctor("scripts")["ok"].what.startswith("0 of 17 ")
    enter()
    assert doctor("scripts")["ok"].what.startswith("1 of 17 ")


@pytest.fixture
def crowd(fresh_server: FreshServer) -> Iterator[tuple[Server, ExitStack]]:
    """A server for twenty connections, and who closes those that were made."""
    with ExitStack() as clients:
        yield fresh_server(settings={"maxclients": "20"}), clients


def connect(server: Server, clients: ExitStack, count: int) -> None:
    """Make so many connections."""
    for _ in range(count):
        clients.enter_context(server.client()).ping()


def test_connections_that_are_nearly_used_up(doctor: Doctor, crowd: tuple[Server, ExitStack]) -> None:
    server, clients = crowd
    assert doctor("clients", url=server.url).keys() == {"ok"}
    connect(server, clients, 17)
    assert doctor("clients", url=server.url)["clients-nearly-full"].what == "18 of 20 connections are in use"


def test_connections_that_were_refused(doctor: Doctor, crowd: tuple[Server, ExitStack]) -> None:
    server, clients = crowd
    with pytest.raises(redis.ConnectionError):
        connect(server, clients, 21)
    clients.pop_all().close()
    assert doctor("clients", url=server.url)["clients-refused"].level is Level.WARNING


def test_no_room_for_a_second_fleet(doctor: Doctor, crowd: tuple[Server, ExitStack], enter: Enter) -> None:
    server, _ = crowd
    enter(url=server.url, clients=tuple(range(15)))
    found = doctor("clients", url=server.url)["clients-no-second-fleet"]
    # 15 that are registered, the one of its jobs, five of its supervisor
    assert found.what.endswith("the fleet has about 21")
