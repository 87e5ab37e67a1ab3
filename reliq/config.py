"""Settings, checked once. Reads no environment and no file: the command line does, and passes values in."""

from __future__ import annotations

import math
import re
from typing import Any

import attrs

from reliq.errors import ConfigError
from reliq.job import MAX_PAYLOAD, check_queue

EMBEDDED = "embedded:"
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
LOG_FORMATS = ("console", "json")
_PASSWORD = re.compile(r"(^[^:]*:/*[^:@?]*:).*(?=@)|([?&]password=)[^&]*")
_SCHEMES = ("redis://", "rediss://", "unix://", EMBEDDED)


def _positive(_: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if not 0 < value < math.inf:
        raise ConfigError(f"{attribute.name} = {value}: give a number above 0")


def _whole(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, int):
        raise ConfigError(f"{attribute.name} = {value}: give a whole number")


@attrs.frozen(kw_only=True)
class Config:
    """How to reach Redis, and the numbers that recovery rests on. Times are seconds, sizes bytes.

    `confirm` is how long a heartbeat must have been watched as missing before its owner is declared dead;
    None takes the smallest value that is safe, `least_confirm`. The defaults of beat, TTL and time-outs give a
    worst case of ttl + confirm + 1 = 19 s for a machine that vanishes without closing its connections.
    """

    url: str = EMBEDDED
    namespace: str = ""
    max_payload: int = attrs.field(default=MAX_PAYLOAD, validator=[_whole, _positive])
    beat: float = attrs.field(default=1.0, validator=_positive)
    ttl: float = attrs.field(default=10.0, validator=_positive)
    confirm: float | None = None
    connect_timeout: float = attrs.field(default=2.0, validator=_positive)
    command_timeout: float = attrs.field(default=3.0, validator=_positive)
    longest_backoff: float = attrs.field(default=2.0, validator=_positive)
    resend_for: float = attrs.field(default=10.0, validator=_positive)
    crash_limit: int = attrs.field(default=3, validator=[_whole, _positive])
    crash_window: float = attrs.field(default=72 * 3600.0, validator=_positive)
    dead_limit: int = attrs.field(default=10_000, validator=[_whole, _positive])
    dead_for: float = attrs.field(default=180 * 86400.0, validator=_positive)
    timeline_rate: float = 0.0
    timeline_keep: float = attrs.field(default=7 * 86400.0, validator=_positive)

    def __attrs_post_init__(self) -> None:
        check_url(self.url)
        check_namespace(self.namespace)
        if not 0.0 <= self.timeline_rate <= 1.0:
            raise ConfigError(f"timeline_rate = {self.timeline_rate}: it is a share of all jobs, from 0 to 1")
        if self.beat < 0.2 or self.ttl < 1.0:
            raise ConfigError(f"beat = {self.beat}, ttl = {self.ttl}: the least are 0.2 s and 1 s")
        if self.ttl < 4 * self.beat:
            raise ConfigError(
                f"ttl = {self.ttl}: must be at least 4 beats of {self.beat} s, so that one slow beat is no death"
            )
        if self.confirm is not None and not self.least_confirm <= self.confirm < math.inf:
            raise ConfigError(
                f"confirm = {self.confirm}: must be at least {self.least_confirm:g} s (connect_timeout + "
                "command_timeout + longest_backoff + beat), or an outage of Redis could kill living processes"
            )
        if self.resend_for > 60:
            raise ConfigError(
                f"resend_for = {self.resend_for}: at most 60 s, the guard against double pushes ends after 15 minutes"
            )

    @property
    def least_confirm(self) -> float:
        """The time in which every living process has certainly beaten again once Redis is back."""
        return self.connect_timeout + self.command_timeout + self.longest_backoff + self.beat

    @property
    def confirm_after(self) -> float:
        """The confirm time in force."""
        return self.least_confirm if self.confirm is None else self.confirm

    @property
    def block(self) -> float:
        """How long a doorbell blocks in the server: well below the TTL, so that no dead client's outlives it."""
        return min(2.0, self.ttl / 4, self.command_timeout / 2)


def shown_url(url: str) -> str:
    """Return the URL without its password, for logs and errors; also of a URL that is not well formed."""
    return _PASSWORD.sub(lambda found: f"{found[1] or found[2]}***", url)


def check_url(url: str) -> str:
    """Return the URL, or raise ConfigError if its scheme is none that reliq speaks."""
    if not url.startswith(_SCHEMES):
        raise ConfigError(f"Redis URL {shown_url(url)!r}: start it with redis://, rediss://, unix:// or embedded:")
    return url


def check_namespace(namespace: str) -> str:
    """Return the namespace, or raise ConfigError: printable, braces only as one hash tag such as `{shop}:`."""
    if namespace and not namespace.isprintable():
        raise ConfigError(f"namespace {namespace!r}: use printable characters")
    opened, closed = namespace.count("{"), namespace.count("}")
    if (opened, closed) not in ((0, 0), (1, 1)) or (opened and namespace.find("}") - namespace.find("{") < 2):
        raise ConfigError(f"namespace {namespace!r}: braces make one hash tag, as in {{shop}}:")
    return namespace


def _upper(text: str) -> str:
    return text.upper()


@attrs.frozen
class QueueOption:
    """One `-q`: a queue and its weight, None when none was given."""

    name: str = attrs.field(converter=check_queue)
    weight: int | None = None


def parse_queue(text: str) -> QueueOption:
    """Return the queue of one `-q name` or `-q name,weight`. Raises ConfigError."""
    name, comma, weight = text.rpartition(",")
    if not comma:
        return QueueOption(text)
    if not weight.isascii() or not weight.isdigit() or not 1 <= int(weight) <= 1000:
        raise ConfigError(f"queue {text!r}: write name or name,weight with a weight from 1 to 1000")
    return QueueOption(name, int(weight))


@attrs.frozen(kw_only=True)
class WorkerConfig:
    """What `reliq worker` runs. Times are seconds.

    Queues are taken in strict order when no queue has a weight, weighted when one has, random when all
    weights are 1. `prefetch` is how much work, by the run times seen so far, is claimed beyond the free slots;
    0 turns that off. With `log_jobs` the start and the end of each job are logged. `http` is where probes and metrics
    are served, empty for nowhere; `live` how long no turn may happen, while slots are free, until /live says so.
    """

    app: str
    queues: tuple[QueueOption, ...] = (QueueOption("default"),)
    concurrency: int = 10
    processes: int = 1
    superfetch: bool = True
    timeout: float = 25.0
    grace: float = 3.0
    prefetch: float = 0.005
    http: str = ""
    live: float = 30.0
    log_jobs: bool = False
    exit_on_unreachable: bool = False
    log_level: str = attrs.field(default="INFO", converter=_upper)
    log_format: str = "console"

    def __attrs_post_init__(self) -> None:
        names = [queue.name for queue in self.queues]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ConfigError(f"queue {min(twice)!r} is given twice; write it once, with a weight if you like")
        if not names:
            raise ConfigError("no queue given; write -q NAME")
        for label, value, most in (("-c", self.concurrency, 1000), ("--processes", self.processes, 256)):
            if not 1 <= value <= most:
                raise ConfigError(f"{label} {value}: give a number from 1 to {most}")
        if self.log_level not in LOG_LEVELS:
            raise ConfigError(f"log_level = {self.log_level!r}: write {', '.join(LOG_LEVELS)}")
        if self.log_format not in LOG_FORMATS:
            raise ConfigError(f"log_format = {self.log_format!r}: write {' or '.join(LOG_FORMATS)}")
        if not 0 <= self.timeout < math.inf:
            raise ConfigError(f"timeout = {self.timeout}: give seconds, 0 or more")
        if not 0 <= self.prefetch <= 1:
            raise ConfigError(f"prefetch = {self.prefetch}: give seconds from 0 (off) to 1")
        if not 1 <= self.live < math.inf:
            raise ConfigError(f"live = {self.live}: give seconds, at least 1")
        if not 0 < self.grace < math.inf:
            raise ConfigError(f"grace = {self.grace}: give seconds above 0")

    @property
    def order(self) -> str:
        """The order of the queues: `strict`, `weighted` or `random`."""
        weights = [queue.weight for queue in self.queues]
        if all(weight is None for weight in weights):
            return "strict"
        return "random" if all(weight == 1 for weight in weights) else "weighted"
