"""The least rights of each role, as rules of a server's ACL."""

from collections.abc import Iterable
from typing import Any, cast

import redis

from reliq.doctor import needs
from reliq.store.keys import Keyspace


def commands(role: str) -> list[str]:
    """The commands of a role, as they stand in a rule after the plus."""
    required, wanted = needs.questions(role, Keyspace())
    return sorted({question.name.lower().replace(" ", "|") for question in [*required, *wanted]})


def rules(role: str) -> list[str]:
    """The keys and the commands of a role, and no more."""
    return needs.acl([role], Keyspace())


def grant(client: redis.Redis, user: str, granted: Iterable[str]) -> None:
    """Make a user who may do this, and nothing else; any password will do."""
    cast(Any, client).execute_command("ACL", "SETUSER", user, "reset", "on", "nopass", *granted)
