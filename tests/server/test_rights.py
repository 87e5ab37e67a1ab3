"""Programs as users of Redis who may do what `reliq doctor --acl` prints, and no more."""

import re
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import redis

from chaos.eventually import eventually
from chaos.servers import Server, free_port
from reliq import Reliq
from tests.exporter.conftest import ask
from tests.support.fleet import Fleet

User = Callable[..., str]
FORMS = ("plain", "selectors")
each_form = pytest.mark.parametrize("form", FORMS)


@pytest.fixture
def user(server: Server, redis_client: redis.Redis, fleet: Fleet) -> Iterator[User]:
    """Makes the user whom the doctor prints for roles, in one of both forms, and gives a URL with it."""
    made: list[str] = []

    def make(form: str, *roles: str) -> str:
        options = [word for role in roles for word in ("--role", role)]
        printed = fleet.command("doctor", "--acl", form, *options)
        assert printed.code == 0, printed.error
        word, name, *rules = re.findall(r"\([^)]*\)|\S+", printed.output)
        assert (word, rules[:2]) == ("user", ["on", ">PASSWORD"])
        try:
            cast(Any, redis_client).execute_command("ACL", "SETUSER", name, "reset", *rules)
        except redis.ResponseError:
            assert form == "selectors", "plain rules are for every server"
            pytest.skip("this server has no selectors")
        made.append(name)
        return f"unix://{name}:PASSWORD@{server.socket}"

    yield make
    for name in made:
        redis_client.acl_deluser(name)


def denied(client: redis.Redis) -> list[str]:
    """What the server has refused anybody since it was asked last."""
    with client as own:
        found = [f"{entry['username']}: {entry['object']}" for entry in own.acl_log()]
        own.acl_log_reset()
    return found


@pytest.fixture(autouse=True)
def clean_log(redis_client: redis.Redis) -> None:
    denied(redis_client)


@each_form
def test_a_worker_needs_no_more(form: str, user: User, fleet: Fleet, redis_client: redis.Redis) -> None:
    """Success, retry, burial, promotion, a crash, quarantine, quiet and leaving: no refusal on the whole way."""
    pod = fleet.start(url=user(form, "worker"), processes=2)
    jids = [fleet.enqueue("quick", number) for number in range(10)]
    jids += [fleet.enqueue("fail_times", 1, "again"), fleet.enqueue("crash_times", 2, "killer")]
    fleet.enqueue("once", "buried", retry=0)
    eventually(lambda: redis_client.zcard("retry"), 15, "a failed job waits for its next attempt")
    fleet.make_due()
    fleet.done(jids, within=30)
    eventually(lambda: redis_client.zcard("dead"), 15, "a job without retries is buried")
    assert pod.stop_and_wait() == 0
    assert "Redis refused" not in pod.log
    assert "does not allow" not in pod.log
    assert denied(redis_client) == []


@each_form
def test_a_reaper_brings_back_what_a_dead_pod_held(
    form: str, user: User, fleet: Fleet, redis_client: redis.Redis
) -> None:
    pod = fleet.start()
    jid = fleet.enqueue("gated", "never")
    fleet.started(jid)
    pod.kill()
    reaper = fleet.begin("reaper", "--url", user(form, "reaper"))
    try:
        eventually(lambda: fleet.jids("queue:default") == [jid], 20, "it is back")
    finally:
        reaper.terminate()
        reaper.communicate(timeout=20)
    assert denied(redis_client) == []


@each_form
def test_an_exporter_reads_all_it_tells(form: str, user: User, fleet: Fleet, redis_client: redis.Redis) -> None:
    fleet.client.sadd("paused", "mail")
    fleet.start(queues=("default", "mail"))
    fleet.done([fleet.enqueue("quick")])
    jid = fleet.enqueue("quick", queue="mail")
    port = free_port()
    exporter = fleet.begin("exporter", "--url", user(form, "exporter"), "--http", f"127.0.0.1:{port}")

    def page() -> str:
        try:
            return ask(port, "/metrics")[1]
        except OSError:
            return ""

    try:
        eventually(lambda: "reliq_redis_up 1.0" in page(), 20, "it reads Redis")
        assert 'reliq_queue_jobs{queue="mail"} 1.0' in page()
    finally:
        exporter.terminate()
        exporter.communicate(timeout=20)
    fleet.client.srem("paused", "mail")
    fleet.done([jid])
    assert denied(redis_client) == []


FORBIDDEN = ("FLUSHALL", "CONFIG GET *", "KEYS *", "SCAN 0", "MONITOR", "ACL LIST", "SHUTDOWN")
OF_OTHERS = (
    "LRANGE queue:default 0 -1",
    "LMOVE queue:default elsewhere LEFT LEFT",
    "DEL queue:default",
    "GET elsewhere",
)


@each_form
def test_a_producer_enqueues_and_does_nothing_else(
    form: str, user: User, fleet: Fleet, redis_client: redis.Redis
) -> None:
    url = user(form, "producer")
    app = Reliq(url)
    with app.batch_enqueue():
        for number in range(3):
            app.enqueue("quick", number)
    app.enqueue("quick")
    app.enqueue_in(3600, "quick")
    app.close()
    assert redis_client.llen("queue:default") == 4
    assert redis_client.zcard("schedule") == 1
    assert denied(redis_client) == []
    more = ("SET queue:default x", "SET queues x", "SADD queue:default x") if form == "selectors" else ()
    with redis.Redis.from_url(url) as own:
        for command in (*FORBIDDEN, *OF_OTHERS, *more):
            with pytest.raises(redis.exceptions.NoPermissionError):
                own.execute_command(*command.split())
    denied(redis_client)
