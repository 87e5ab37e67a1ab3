"""Every key of reliq, by name. Nothing else in the code spells a key.

An optional namespace stands before each. Names and contents are Sidekiq's own where Sidekiq has them.

| key | type | lifetime | content | written by |
|---|---|---|---|---|
| `queues` | set | lasting | names of all queues that were ever pushed to | enqueue, promote |
| `queue:NAME` | list | lasting | public queue: payloads, newest left, next one right | enqueue, promote, turn, reap |
| `private:IDENTITY:NAME` | list | until settled | payloads that one worker process holds, newest left | turn, BLMOVE, reap |
| `quarantine:NAME` | list | lasting | jobs with two crashes on record, to run alone | reap, turn |
| `heartbeat:IDENTITY` | string | TTL; a day | a beat counter, or `fenced`, the verdict | beat, register, condemn, leave, reap |
| `beats` | zset | lasting | identity by its last beat, in seconds of the server's clock | beat, register, forget |
| `fleet` | hash | lasting | identity to JSON: host, pid, queues, concurrency, quarantine, superfetch, started, stopping, run_id, clients, version | register, forget |
| `suspects` | hash | lasting | identity to `first:last` look at its missing heartbeat, in milliseconds | suspect, beat, register, condemn, forget |
| `turn:IDENTITY` | string | a day | number of the last applied turn, or `SHUT:LAST` after a reconciliation | turn, reconcile, forget |
| `crashes` | hash | until success | jid to `count:time` of its crashes | reap, turn |
| `sent:PRODUCER` | string | 15 min | last call number of one producer connection | enqueue, schedule |
| `fence` | string | lasting | the last fence number drawn | fence |
| `lease:DUTY` | string | seconds | owner that leads a duty | lease |
| `lease:DUTY:number` | string | lasting | fencing number of the last leadership | lease |
| `schedule` | zset | lasting | payload by due time in seconds | schedule, promote |
| `retry` | zset | lasting | payload by due time in seconds | turn, promote |
| `dead` | zset | limits | payload by time of death in seconds | turn, reap, promote |
| `paused` | set | lasting | names of paused queues | pause, resume |
| `processes` | set | lasting | identities, for Sidekiq's view | show, leave, forget |
| `IDENTITY` | hash | 60 s | info, busy, beat, quiet, rss, rtt_us, concurrency | show |
| `IDENTITY:work` | hash | 60 s | thread id to JSON of the job it runs | show_work |
| `IDENTITY-signals` | list | 60 s | signals that Sidekiq's view left for the process | Sidekiq |
| `stat:processed` | string | lasting | attempts that ended | turn |
| `stat:failed` | string | lasting | attempts that failed | turn |
| `stat:processed:DATE` | string | 5 years | the same of one UTC day | turn |
| `stat:failed:DATE` | string | 5 years | the same of one UTC day | turn |
| `stat:trimmed` | string | lasting | dead jobs that fell to the limits of `dead` | turn, reap |
| `pace` | hash | lasting | queue to `runs:seconds:time` of its latest runs, for estimates | worker processes |
| `timeline:JID` | list | `timeline_keep` | JSON of what happened to a job, oldest left; for a share of them | worker processes, reapers |
"""

from __future__ import annotations

import datetime
import re
from typing import NewType

import attrs

Key = NewType("Key", str)
"""The full name of a key. Only a Keyspace makes one."""

FENCED = b"fenced"
"""The verdict in a heartbeat key."""

_GLOB = re.compile(r"[*?\[\]\\^]")
_PRIVATE = re.compile(r"private:(.+?:\d+:[0-9a-f]{12}):.")


@attrs.frozen
class Keyspace:
    """The names of all keys under one namespace; the module's docstring is the table."""

    prefix: str = ""

    @classmethod
    def of(cls, namespace: str) -> Keyspace:
        """Return the keyspace of a namespace; a colon is put behind it unless it has one."""
        return cls(namespace if not namespace or namespace.endswith(":") else namespace + ":")

    def _key(self, name: str) -> Key:
        return Key(self.prefix + name)

    # -- jobs

    @property
    def queues(self) -> Key:
        """Names of all queues."""
        return self._key("queues")

    def queue(self, name: str) -> Key:
        """One public queue."""
        return self._key(f"queue:{name}")

    def private(self, identity: str, name: str) -> Key:
        """What one process holds of one queue."""
        return self._key(f"private:{identity}:{name}")

    @property
    def privates(self) -> str:
        """A pattern of all private queues, for SCAN."""
        return _GLOB.sub(r"\\\g<0>", self.prefix) + "private:*"

    def owner(self, key: bytes) -> str | None:
        """Return the identity in the name of a private queue; None if there is none."""
        found = _PRIVATE.match(key.decode(errors="replace").removeprefix(self.prefix))
        return found[1] if found else None

    def quarantine(self, name: str) -> Key:
        """Jobs of one queue that run alone."""
        return self._key(f"quarantine:{name}")

    @property
    def schedule(self) -> Key:
        """Jobs that wait for their time."""
        return self._key("schedule")

    @property
    def retry(self) -> Key:
        """Jobs that wait for their next attempt."""
        return self._key("retry")

    @property
    def dead(self) -> Key:
        """Jobs that nobody will run again by himself."""
        return self._key("dead")

    @property
    def crashes(self) -> Key:
        """Crash counts of recovered jobs."""
        return self._key("crashes")

    @property
    def paused(self) -> Key:
        """Names of paused queues."""
        return self._key("paused")

    def sent(self, producer: str) -> Key:
        """Last call number of one producer connection."""
        return self._key(f"sent:{producer}")

    # -- life and death

    def heartbeat(self, identity: str) -> Key:
        """Beat counter or verdict."""
        return self._key(f"heartbeat:{identity}")

    @property
    def beats(self) -> Key:
        """Identities by last beat."""
        return self._key("beats")

    @property
    def fleet(self) -> Key:
        """Entries of all identities."""
        return self._key("fleet")

    @property
    def suspects(self) -> Key:
        """Watches over missing heartbeats."""
        return self._key("suspects")

    def turn(self, identity: str) -> Key:
        """Number of the last applied turn."""
        return self._key(f"turn:{identity}")

    @property
    def fence(self) -> Key:
        """Last fence number."""
        return self._key("fence")

    def lease(self, duty: str) -> Key:
        """Owner of a duty."""
        return self._key(f"lease:{duty}")

    def lease_number(self, duty: str) -> Key:
        """Fencing number of a duty."""
        return self._key(f"lease:{duty}:number")

    # -- what is shown

    @property
    def processes(self) -> Key:
        """Identities for Sidekiq's view."""
        return self._key("processes")

    def shown(self, identity: str) -> Key:
        """One process for Sidekiq's view."""
        return self._key(identity)

    def work(self, identity: str) -> Key:
        """What a process runs."""
        return self._key(f"{identity}:work")

    def signals(self, identity: str) -> Key:
        """Signals left for a process."""
        return self._key(f"{identity}-signals")

    @property
    def pace(self) -> Key:
        """How long jobs ran lately, by queue."""
        return self._key("pace")

    def timeline(self, jid: str) -> Key:
        """What happened to a job."""
        return self._key(f"timeline:{jid}")

    def stat(self, name: str, wall: float | None = None) -> Key:
        """A counter; with `wall` (epoch seconds) the one of that UTC day."""
        if wall is None:
            return self._key(f"stat:{name}")
        day = datetime.datetime.fromtimestamp(wall, datetime.UTC).date()
        return self._key(f"stat:{name}:{day.isoformat()}")
