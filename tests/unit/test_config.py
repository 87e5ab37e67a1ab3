"""reliq.config: settings, checked once."""

from typing import Any

import attrs
import pytest

from reliq.config import Config, QueueOption, WorkerConfig, check_namespace, check_url, parse_queue
from reliq.errors import ConfigError

ONE_LINE = r"[^\n]*\Z"


def test_the_defaults_hold_together() -> None:
    config = Config()
    assert config.least_confirm == config.confirm_after == 8.0
    assert config.block == 1.5


def test_numbers_that_follow_from_others() -> None:
    quick = Config(beat=0.2, ttl=1.0, connect_timeout=0.5, command_timeout=0.5, longest_backoff=0.3)
    assert quick.least_confirm == pytest.approx(1.5)
    assert quick.block == 0.25
    assert attrs.evolve(quick, confirm=1.6).confirm_after == 1.6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "http://x"}, "Redis URL 'http://x': start it with redis://, rediss://, unix:// or embedded:"),
        ({"url": ""}, "Redis URL '': start it with"),
        ({"namespace": "a\nb"}, r"namespace 'a\nb': use printable characters"),
        ({"namespace": "{a"}, "namespace '{a': braces make one hash tag, as in {shop}:"),
        ({"namespace": "a}"}, "namespace 'a}': braces make one hash tag"),
        ({"namespace": "{}"}, "namespace '{}': braces make one hash tag"),
        ({"namespace": "}{"}, "namespace '}{': braces make one hash tag"),
        ({"namespace": "{a}{b}"}, "namespace '{a}{b}': braces make one hash tag"),
        ({"max_payload": 0}, "max_payload = 0: give a number above 0"),
        ({"beat": -1.0}, "beat = -1.0: give a number above 0"),
        ({"beat": float("nan")}, "beat = nan: give a number above 0"),
        ({"ttl": 0.0}, "ttl = 0.0: give a number above 0"),
        ({"connect_timeout": 0.0}, "connect_timeout = 0.0: give a number above 0"),
        ({"command_timeout": 0.0}, "command_timeout = 0.0: give a number above 0"),
        ({"longest_backoff": 0.0}, "longest_backoff = 0.0: give a number above 0"),
        ({"resend_for": 0.0}, "resend_for = 0.0: give a number above 0"),
        ({"crash_limit": 0}, "crash_limit = 0: give a number above 0"),
        ({"crash_window": 0.0}, "crash_window = 0.0: give a number above 0"),
        ({"dead_limit": 0}, "dead_limit = 0: give a number above 0"),
        ({"dead_for": 0.0}, "dead_for = 0.0: give a number above 0"),
        ({"beat": 0.1}, "beat = 0.1, ttl = 10.0: the least are 0.2 s and 1 s"),
        ({"beat": 0.2, "ttl": 0.9}, "beat = 0.2, ttl = 0.9: the least are 0.2 s and 1 s"),
        ({"beat": 3.0}, "ttl = 10.0: must be at least 4 beats of 3.0 s, so that one slow beat is no death"),
        (
            {"confirm": 7.9},
            "confirm = 7.9: must be at least 8 s (connect_timeout + command_timeout + longest_backoff + beat)",
        ),
        ({"resend_for": 61.0}, "resend_for = 61.0: at most 60 s"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_settings_that_are_refused_in_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(**settings)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["redis://h:1/0", "rediss://h", "unix:///a", "embedded:", "embedded:///a?keep=1"])
def test_urls(url: str) -> None:
    assert check_url(url) == url


@pytest.mark.parametrize("namespace", ["", "shop", "shop:", "{shop}:", "a{b}c"])
def test_namespaces(namespace: str) -> None:
    assert check_namespace(namespace) == namespace


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("mail", QueueOption("mail")),
        ("mail,5", QueueOption("mail", 5)),
        ("mail,1000", QueueOption("mail", 1000)),
        ("a,b,2", QueueOption("a,b", 2)),
        ("mit Leerzeichen", QueueOption("mit Leerzeichen")),
    ],
)
def test_queues_with_weights(text: str, option: QueueOption) -> None:
    assert parse_queue(text) == option


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",5",
        "mail,",
        "mail,0",
        "mail,-1",
        "mail,1001",
        "mail,x",
        "mail,1.5",
        "mail,²",
        "mail,٣",
        "mail, 5",
        "{a}",
        "a\n",
    ],
)
def test_queues_that_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^queue (name )?'" + ONE_LINE):
        parse_queue(text)


@pytest.mark.parametrize(
    ("queues", "order"),
    [
        (["a"], "strict"),
        (["a", "b"], "strict"),
        (["a,1"], "random"),
        (["a,1", "b,1"], "random"),
        (["a,2", "b"], "weighted"),
        (["a,1", "b"], "weighted"),
        (["a,2", "b,1"], "weighted"),
    ],
)
def test_the_order_follows_from_the_weights(queues: list[str], order: str) -> None:
    assert WorkerConfig(app="shop:app", queues=tuple(map(parse_queue, queues))).order == order


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"queues": ()}, "no queue given; write -q NAME"),
        (
            {"queues": (QueueOption("b"), QueueOption("a"), QueueOption("a", 5), QueueOption("b"))},
            "queue 'a' is given twice",
        ),
        ({"concurrency": 0}, "-c 0: give a number from 1 to 1000"),
        ({"concurrency": 1001}, "-c 1001: give a number from 1 to 1000"),
        ({"processes": 0}, "--processes 0: give a number from 1 to 256"),
        ({"processes": 257}, "--processes 257: give a number from 1 to 256"),
        ({"timeout": -1.0}, "timeout = -1.0: give seconds, 0 or more"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_workers_that_are_refused_in_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        WorkerConfig(**({"app": "shop:app"} | settings))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
