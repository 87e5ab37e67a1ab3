"""Needs: which commands a user of Redis must be allowed, on which keys, to play a role in reliq.

Scripts count by what they call: a server checks those calls against the user who runs the script. A test compares the
tables with the scripts and with what the code sends, and works as users who may do no more than they say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from reliq.store.keys import Key, Keyspace

IDENTITY = "*:*:*"
"""In patterns; nobody is called so. The keys of a question need not exist, they are only asked about."""

ON_KEYS: Mapping[str, Mapping[str, str]] = {
    "producer": {
        "sent": "EVALSHA GET SET",
        "queues": "EVALSHA SADD",
        "queue": "EVALSHA LPUSH",
        "schedule": "EVALSHA ZADD",
    },
    "reaper": {
        "queues": "SMEMBERS",
        "queue": "EVALSHA",
        "private": "EVALSHA EXISTS LLEN LRANGE LPOP",
        "private queue": "LMOVE",
        "private quarantine": "LMOVE",
        "quarantine": "EVALSHA",
        "dead": "EVALSHA ZADD ZCARD ZRANGEBYSCORE ZREMRANGEBYRANK",
        "crashes": "EVALSHA HDEL HEXISTS HGET HLEN HSET",
        "heartbeat": "EVALSHA DEL GET PEXPIRE SET",
        "beats": "EVALSHA PERSIST ZCARD ZRANGEBYSCORE ZREM ZSCORE",
        "suspects": "EVALSHA HDEL HGET HSET",
        "fleet": "EVALSHA HDEL HGET",
        "turn": "EVALSHA DEL EXISTS",
        "processes": "EVALSHA SREM",
        "shown": "EVALSHA DEL",
        "work": "EVALSHA DEL HVALS",
        "signals": "EVALSHA DEL",
        "stat": "EVALSHA INCRBY",
        "timeline": "LTRIM PEXPIRE RPUSH",
    },
    # What comes on top of the reaper's, which every worker is as well.
    "worker": {
        "queues": "EVALSHA SADD",
        "queue": "LPUSH LRANGE LTRIM RPUSH TYPE",
        "queue private": "LMOVE BLMOVE",
        "quarantine": "EXISTS LRANGE LTRIM RPUSH TYPE",
        "quarantine private": "LMOVE BLMOVE",
        "private": "LPOS LPUSH LREM LTRIM RPUSH",
        "schedule": "EVALSHA PERSIST ZRANGEBYSCORE ZREM ZSCORE",
        "retry": "EVALSHA PERSIST TYPE ZADD ZRANGEBYSCORE ZREM ZSCORE",
        "dead": "TYPE",
        "paused": "EVALSHA SMISMEMBER",
        "heartbeat": "INCR PERSIST",
        "beats": "ZADD",
        "fleet": "HSET",
        "turn": "GET SET",
        "fence": "EVALSHA GET PERSIST SET",
        "lease": "EVALSHA GET PEXPIRE SET",
        "lease_number": "EVALSHA GET INCR PERSIST",
        "processes": "SADD",
        "shown": "HSET PEXPIRE",
        "work": "HSET PEXPIRE",
        "signals": "RPOP",
        "stat": "PEXPIRE",
        "pace": "HMGET HSET",
    },
    "exporter": {
        "queues": "SMEMBERS",
        "paused": "SMEMBERS",
        "queue": "LINDEX LLEN",
        "quarantine": "LLEN",
        "private": "LLEN",
        "schedule": "ZCARD ZCOUNT",
        "retry": "ZCARD ZCOUNT",
        "dead": "ZCARD",
        "heartbeat": "GET",
        "fleet": "HGETALL HKEYS",
        "shown": "HMGET",
        "pace": "HGETALL",
        "stat": "GET",
    },
}
"""By role: kinds of keys, named as the methods of Keyspace, and the commands that are sent or called with them."""

WITHOUT_KEYS: Mapping[str, tuple[str, ...]] = {
    "producer": ("SCRIPT LOAD",),
    "reaper": ("SCRIPT LOAD", "TIME"),
    "worker": ("SCRIPT LOAD", "TIME", "PING"),
    "exporter": (),
}

MISSED: Mapping[str, tuple[str, ...]] = {
    "producer": (),
    "reaper": ("INFO", "CLIENT LIST", "CLIENT KILL"),
    "worker": ("INFO", "CLIENT ID", "CLIENT LIST", "CLIENT KILL", "CLIENT UNBLOCK"),
    "exporter": (),
}
"""Commands that reliq does without, if it has to."""

AROUND: Mapping[str, tuple[str, ...]] = {"exporter": ("MULTI", "EXEC")}
"""Commands that a role sends around others. They cannot be asked about: the question itself is put inside of MULTI."""

ROLES = tuple(ON_KEYS)

_REST: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("x",): (
        "HDEL",
        "HEXISTS",
        "HGET",
        "HMGET",
        "LINDEX",
        "LPOS",
        "LPUSH",
        "RPUSH",
        "SADD",
        "SMISMEMBER",
        "SREM",
        "ZREM",
        "ZSCORE",
    ),
    ("x", "x"): ("HSET",),
    ("1",): ("INCRBY", "PEXPIRE", "SET"),
    ("0", "0"): ("LRANGE", "LTRIM", "ZCOUNT", "ZRANGEBYSCORE", "ZREMRANGEBYRANK"),
    ("0", "x"): ("ZADD",),
    ("-1", "x"): ("LREM",),
    ("RIGHT", "LEFT"): ("LMOVE",),
    ("RIGHT", "LEFT", "1"): ("BLMOVE",),
    ("ID", "1"): ("CLIENT KILL", "CLIENT LIST"),
    ("1", "TIMEOUT"): ("CLIENT UNBLOCK",),
    ("return 1",): ("SCRIPT LOAD",),
}
"""What must follow the key, or the command, for a whole command; nothing if it is not named here."""


@attrs.frozen
class Question:
    """A whole command to ask a server about: its name, the keys in it, and its words. It is never executed."""

    name: str
    keys: tuple[Key, ...]
    words: tuple[str, ...]


def questions(role: str, keys: Keyspace) -> tuple[list[Question], list[Question]]:
    """Return what a role cannot do without, and what it can."""
    roles = ("reaper", "worker") if role == "worker" else (role,)
    required = {question.words: question for one in roles for question in _on_keys(one, keys)}
    without = [_without_keys(name) for name in WITHOUT_KEYS[role]]
    return [*required.values(), *without], [_without_keys(name) for name in MISSED[role]]


def acl(roles: Sequence[str], keys: Keyspace, *, selectors: bool = False) -> list[str]:
    """Return the rules of a server's ACL for a user who plays these roles, and does no more.

    Plain rules allow every command on every key of the role. Selectors (Redis 7, Valkey) allow each on its own keys.
    """
    asked = [question for role in roles for part in questions(role, keys) for question in part]
    around = {name for role in roles for name in AROUND.get(role, ())}
    if not selectors:
        names = {question.name for question in asked} | around
        return [*_patterns(asked), *_commands(names)]
    # A script is called with keys of all kinds, so the rule for the calls has all patterns.
    names = {question.name for question in asked if not question.keys or question.name == "EVALSHA"} | around
    rules = [*_patterns(asked), *_commands(names)]
    by_keys: dict[tuple[Key, ...], set[str]] = {}
    for question in asked:
        if question.keys and question.name != "EVALSHA":
            by_keys.setdefault(tuple(sorted(question.keys)), set()).add(question.name)
    by_names: dict[frozenset[str], set[Key]] = {}
    for found, some in by_keys.items():
        if len(found) == 1:
            by_names.setdefault(frozenset(some), set()).update(found)
        else:
            rules.append(_selector(found, some))
    return [*rules, *(_selector(sorted(found), some) for some, found in by_names.items())]


def _selector(keys: Iterable[Key], names: Iterable[str]) -> str:
    return f"({' '.join([*(f'~{key}' for key in keys), *_commands(names)])})"


def _patterns(asked: Iterable[Question]) -> list[str]:
    return [f"~{key}" for key in sorted({key for question in asked for key in question.keys})]


def _commands(names: Iterable[str]) -> list[str]:
    return [f"+{name}" for name in sorted(name.lower().replace(" ", "|") for name in names)]


def _on_keys(role: str, keys: Keyspace) -> Iterator[Question]:
    for kinds, names in ON_KEYS[role].items():
        found = tuple(_key(kind, keys) for kind in kinds.split())
        for name in names.split():
            # A script is asked about by a hash that no script has.
            words = (name, "0" * 40, str(len(found)), *found) if name == "EVALSHA" else (name, *found)
            yield Question(name, found, (*words, *_rest(name)))


def _without_keys(name: str) -> Question:
    return Question(name, (), (*name.split(), *_rest(name)))


def _rest(name: str) -> tuple[str, ...]:
    return next((rest for rest, names in _REST.items() if name in names), ())


def _key(kind: str, keys: Keyspace) -> Key:
    match kind:
        case "queue" | "quarantine" | "sent" | "timeline" | "lease" | "lease_number" | "stat":
            made = getattr(keys, kind)("*")
        case "private":
            made = keys.private(IDENTITY, "*")
        case "heartbeat" | "turn" | "shown" | "work" | "signals":
            made = getattr(keys, kind)(IDENTITY)
        case _:
            made = getattr(keys, kind)
    return Key(made)
