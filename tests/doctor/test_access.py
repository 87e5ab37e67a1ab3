"""What the doctor says about the rights of the URL's user, and whether users with no more than these can work."""

import contextlib
import itertools
import re
from collections.abc import Callable, Iterator

import pytest
import redis

from chaos.eventually import eventually
from chaos.servers import Server
from reliq.client import Client
from reliq.clock import SystemClock
from reliq.config import Config
from reliq.doctor import ROLES, Level
from reliq.server.reaper import Reaper
from reliq.store.opening import Store
from tests.doctor.conftest import ID, Doctor, Enter
from tests.doctor.test_fleet import die, job
from tests.store.conftest import QUICK
from tests.support.rights import commands, grant, rules

User = Callable[..., str]


@pytest.fixture
def user(server: Server, redis_client: redis.Redis) -> Iterator[User]:
    """Makes a user with these ACL rules, and gives a URL with it."""
    numbers = itertools.count()
    made: list[str] = []

    def make(*rules: str) -> str:
        made.append(f"user{next(numbers)}")
        grant(redis_client, made[-1], rules)
        return f"unix://{made[-1]}:x@{server.socket}"

    yield make
    for name in made:
        redis_client.acl_deluser(name)


def may_dry_run(client: redis.Redis) -> bool:
    """Whether the server can be asked about other users: from Redis 7 on."""
    try:
        client.acl_dryrun("default", "PING")
    except redis.ResponseError:
        return False
    return True


@pytest.mark.parametrize("role", ROLES)
def test_a_user_who_may_do_all(doctor: Doctor, role: str) -> None:
    found = doctor("access", roles=[role])
    assert found.keys() == {"ok"}
    assert found["ok"].what == f"user default may do all that a {role} does"


@pytest.mark.parametrize(
    ("minus", "said"),
    [
        (["-lmove"], "LMOVE"),
        (["-evalsha", "-blmove"], "BLMOVE, EVALSHA"),
        (["-script"], "SCRIPT LOAD"),
        (["-ping"], "PING"),
    ],
)
def test_a_command_is_missing(doctor: Doctor, user: User, minus: list[str], said: str) -> None:
    found = doctor("access", url=user("~*", "+@all", *minus))
    assert found["commands-refused"].level is Level.PROBLEM
    assert found["commands-refused"].what.endswith(f"may not send {said}")
    assert "keys-refused" not in found


def test_some_keys_are_missing(doctor: Doctor, user: User) -> None:
    patterns = [rule for rule in rules("worker") if rule.startswith("~") and not rule.startswith(("~queue:", "~beats"))]
    found = doctor("access", url=user(*patterns, "+@all"))
    assert found.keys() == {"keys-refused"}
    assert "queue:*" in found["keys-refused"].what
    assert "beats" in found["keys-refused"].what
    assert "heartbeat" not in found["keys-refused"].what


def test_the_namespace_counts(doctor: Doctor, user: User) -> None:
    url = user("~test-a:*", "+@all")
    assert doctor("access", url=url, namespace="test-a").keys() == {"ok"}
    assert "keys-refused" in doctor("access", url=url, namespace="test-b")


def test_what_reliq_can_do_without(doctor: Doctor, user: User) -> None:
    found = doctor("access", url=user("~*", "+@all", "-client", "-info"))
    assert found.keys() == {"commands-missed"}
    assert found["commands-missed"].what.endswith("INFO, CLIENT ID, CLIENT LIST, CLIENT KILL, CLIENT UNBLOCK")


def test_asking_changes_nothing(doctor: Doctor, redis_client: redis.Redis) -> None:
    doctor("access", roles=ROLES)
    assert redis_client.keys() == []


@pytest.mark.parametrize("role", ROLES)
def test_the_least_is_enough_and_nothing_less(doctor: Doctor, user: User, role: str) -> None:
    least = [*rules(role), "+multi"]
    assert doctor("access", url=user(*least), roles=[role]).keys() == {"ok"}
    for command in commands(role):
        less = [rule for rule in least if rule != f"+{command}"]
        found = doctor("access", url=user(*less), roles=[role])
        assert command.upper().replace("|", " ") in " ".join(one.what for one in found.values())


def test_a_user_without_transactions_is_asked_about_by_dry_run(
    doctor: Doctor, user: User, redis_client: redis.Redis
) -> None:
    url = user("~*", "+@all", "-multi", "-lmove")
    found = doctor("access", url=url)
    if may_dry_run(redis_client):
        assert found["commands-refused"].what.endswith("may not send LMOVE")
    else:
        assert "MULTI and ACL DRYRUN are refused" in found["unchecked"].what


def test_who_can_be_asked_in_no_way(doctor: Doctor, user: User) -> None:
    assert "one of them is needed" in doctor("access", url=user("~*", "+@all", "-multi", "-acl"))["unchecked"].what


def test_a_user_who_may_hardly_ask_anything(doctor: Doctor, user: User) -> None:
    """As on a managed server: every check says what it could not see, and none breaks."""
    found = doctor(url=user("~*", "+ping"))
    assert found.keys() == {"unchecked", "shutdown-not-told", "ok"}  # PING is allowed: the latency is known
    assert re.match(r"could not be checked: .*extend its ACL", found["unchecked"].what)


def test_a_producer_needs_no_more(user: User, redis_client: redis.Redis) -> None:
    client = Client(Store(Config(url=user(*rules("producer")), **QUICK)))
    client.enqueue("A", [], {}, queue="mail", retry=True)
    client.enqueue("A", [], {}, queue="mail", retry=True, at=4e9)
    client.close()
    assert redis_client.llen("queue:mail") == redis_client.zcard("schedule") == 1


def test_a_reaper_needs_no_more(user: User, enter: Enter, redis_client: redis.Redis) -> None:
    enter()
    die(redis_client, 1000.0, job(1), job(2))
    redis_client.hset("crashes", mapping={f"{1:024x}": f"2:{2**31}", f"{2:024x}": f"1:{2**31}"})
    redis_client.hset(f"{ID}:work", "1", '{"payload": "{}"}')
    redis_client.pexpire(f"{ID}:work", 60_000)
    store = Store(Config(url=user(*rules("reaper")), **QUICK))
    reaper = Reaper(store, SystemClock())

    def forgotten() -> bool:
        reaper.tick()
        return not redis_client.exists("beats", "fleet", f"private:{ID}:mail")

    with contextlib.closing(reaper):
        eventually(forgotten, 10, "the jobs are back, and the dead one is forgotten")
    store.close()
    assert redis_client.llen("queue:mail") + redis_client.llen("quarantine:mail") == 2
