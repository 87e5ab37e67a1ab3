"""Looking at a connection: what lies in its socket, and what the server says of it."""

import select
from typing import Any

import redis

from chaos.eventually import eventually


def has_data(connection: Any) -> bool:
    """Whether something can be read from it now."""
    poll = select.poll()
    poll.register(connection._get_socket(), select.POLLIN)
    return bool(poll.poll(0))


def waits(client: redis.Redis, connection: Any, number: int) -> None:
    """Wait until the server has read the BLMOVE that was sent over this connection, which it knows by this number."""

    def read() -> bool:
        return has_data(connection) or any("b" in other["flags"] for other in client.client_list(client_id=[number]))

    eventually(read, why="the server has read the BLMOVE")


def number_of(connection: Any) -> int:
    """The server's number of a connection, asked over it."""
    connection.send_command("CLIENT", "ID", check_health=False)
    return int(connection.read_response(disconnect_on_error=False))
