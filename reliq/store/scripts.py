"""One typed method per file in `lua/`, under the file's name; a test compares names and order.

Parameters typed Key or Sequence[Key] become KEYS in order, the others ARGV in order. The files are read when a
Library is made, never at import. Scripts are called by their hash; a server that does not know one (NOSCRIPT: new
server, SCRIPT FLUSH) is given it, and the call goes on: nothing of it had been applied.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import attrs

from reliq.errors import ConfigError, Refused
from reliq.store.connection import Link
from reliq.store.keys import Key

Arg = str | bytes | int | float


def folder() -> Path:
    """Return the folder of the scripts: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for candidate in (package / "lua", package.parent / "lua"):
        if (candidate / "turn.lua").is_file():
            return candidate
    raise ConfigError(f"the scripts are missing: no lua/ in or beside {package}")


@attrs.frozen
class Library:
    """The scripts' texts and their hashes, by name."""

    texts: dict[str, str]
    shas: dict[str, str]

    @classmethod
    def load(cls) -> Library:
        """Read all scripts."""
        texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder().glob("*.lua"))}
        shas = {name: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest() for name, text in texts.items()}
        return cls(texts, shas)


class Scripts:
    """The scripts, to be run over one link. What each guarantees and returns stands at the top of its file.

    `ahead`: only send them, once; whoever calls takes the reply from the link, NOSCRIPT perhaps.
    """

    def __init__(self, link: Link, library: Library, *, ahead: bool = False) -> None:
        self.link = link
        self._library = library
        self._ahead = ahead

    def _run(self, name: str, keys: Sequence[Key], args: Sequence[Arg]) -> Any:
        sha = self._library.shas[name]
        if self._ahead:
            return self.link.send("EVALSHA", sha, len(keys), *keys, *args)
        try:
            return self.link.call("EVALSHA", sha, len(keys), *keys, *args)
        except Refused as refusal:
            if refusal.code != "NOSCRIPT":
                raise
        self.link.call("SCRIPT", "LOAD", self._library.texts[name])
        return self.link.call("EVALSHA", sha, len(keys), *keys, *args)

    def enqueue(
        self, *, sent: Key, queues: Key, queue: Key, number: int, mark_ms: int, name: str, payloads: Sequence[bytes]
    ) -> int:
        """Push payloads once per call number."""
        return cast(int, self._run("enqueue", (sent, queues, queue), (number, mark_ms, name, *payloads)))

    def schedule(self, *, sent: Key, schedule: Key, number: int, mark_ms: int, entries: Sequence[Arg]) -> int:
        """Add payloads to the schedule once per call number."""
        return cast(int, self._run("schedule", (sent, schedule), (number, mark_ms, *entries)))

    def turn(
        self,
        *,
        heartbeat: Key,
        turn: Key,
        crashes: Key,
        paused: Key,
        retry: Key,
        dead: Key,
        processed: Key,
        processed_today: Key,
        failed: Key,
        failed_today: Key,
        trimmed: Key,
        public: Sequence[Key],
        private: Sequence[Key],
        number: int,
        capacity: int,
        max_bytes: int,
        now: float,
        dead_before: float,
        dead_limit: int,
        order_count: int,
        ack_groups: int,
        rest: Sequence[Arg],
    ) -> list[Any]:
        """Settle, then claim."""
        keys = (
            heartbeat,
            turn,
            crashes,
            paused,
            retry,
            dead,
            processed,
            processed_today,
            failed,
            failed_today,
            trimmed,
        )
        args = (number, capacity, max_bytes, repr(now), repr(dead_before), dead_limit, order_count, ack_groups)
        return cast(list[Any], self._run("turn", (*keys, *public, *private), (*args, *rest)))

    def reconcile(self, *, heartbeat: Key, turn: Key, private: Sequence[Key], number: int) -> list[Any]:
        """Shut out older turns and read what is held."""
        return cast(list[Any], self._run("reconcile", (heartbeat, turn, *private), (number,)))

    def beat(
        self,
        *,
        heartbeat: Key,
        beats: Key,
        suspects: Key,
        shown: Key,
        work: Key,
        identity: str,
        ttl_ms: int,
        shown_ms: int,
    ) -> list[bytes]:
        """Beat once."""
        reply = self._run("beat", (heartbeat, beats, suspects, shown, work), (identity, ttl_ms, shown_ms))
        return cast(list[bytes], reply)

    def register(
        self, *, heartbeat: Key, beats: Key, suspects: Key, fleet: Key, identity: str, ttl_ms: int, entry: bytes
    ) -> list[bytes]:
        """Enter the fleet and beat once."""
        return cast(list[bytes], self._run("register", (heartbeat, beats, suspects, fleet), (identity, ttl_ms, entry)))

    def overdue(self, *, beats: Key, late_ms: int, most: int) -> list[Any]:
        """List identities whose beat is late."""
        return cast(list[Any], self._run("overdue", (beats,), (late_ms, most)))

    def suspect(self, *, heartbeat: Key, suspects: Key, identity: str, gap_ms: int) -> list[Any]:
        """Look at one heartbeat."""
        return cast(list[Any], self._run("suspect", (heartbeat, suspects), (identity, gap_ms)))

    def condemn(
        self,
        *,
        heartbeat: Key,
        suspects: Key,
        identity: str,
        evidence: str,
        confirm_ms: int,
        gap_ms: int,
        counter: str,
    ) -> list[bytes]:
        """Declare an identity dead."""
        args: tuple[Arg, ...] = (identity, evidence, confirm_ms, gap_ms, counter)
        return cast(list[bytes], self._run("condemn", (heartbeat, suspects), args))

    def reap(
        self,
        *,
        heartbeat: Key,
        private: Key,
        public: Key,
        quarantine: Key,
        dead: Key,
        crashes: Key,
        trimmed: Key,
        items: int,
        max_bytes: int,
        crash_limit: int,
        window_s: int,
        dead_limit: int,
        dead_for_s: int,
        reason: bytes,
        started: Sequence[str],
    ) -> list[Any]:
        """Move one batch back."""
        keys = (heartbeat, private, public, quarantine, dead, crashes, trimmed)
        args: tuple[Arg, ...] = (items, max_bytes, crash_limit, window_s, dead_limit, dead_for_s, reason, *started)
        return cast(list[Any], self._run("reap", keys, args))

    def leave(
        self,
        *,
        heartbeat: Key,
        processes: Key,
        shown: Key,
        work: Key,
        signals: Key,
        private: Sequence[Key],
        identity: str,
    ) -> list[Any]:
        """Fence oneself, with empty hands."""
        return cast(list[Any], self._run("leave", (heartbeat, processes, shown, work, signals, *private), (identity,)))

    def forget(
        self,
        *,
        heartbeat: Key,
        beats: Key,
        fleet: Key,
        suspects: Key,
        turn: Key,
        processes: Key,
        shown: Key,
        work: Key,
        signals: Key,
        private: Sequence[Key],
        identity: str,
        keep_ms: int,
    ) -> int:
        """Drop a fenced identity from the walk."""
        keys = (heartbeat, beats, fleet, suspects, turn, processes, shown, work, signals, *private)
        return cast(int, self._run("forget", keys, (identity, keep_ms)))

    def fence(self, *, heartbeat: Key, fence: Key) -> bytes | None:
        """Draw a fence number."""
        return cast(bytes | None, self._run("fence", (heartbeat, fence), ()))

    def promote(
        self,
        *,
        source: Key,
        queues: Key,
        dead: Key,
        target: Sequence[Key],
        now: float,
        name_count: int,
        rest: Sequence[Arg],
    ) -> int:
        """Move due jobs to their queues."""
        return cast(int, self._run("promote", (source, queues, dead, *target), (repr(now), name_count, *rest)))

    def lease(self, *, lease: Key, counter: Key, owner: str, lease_ms: int) -> int:
        """Lead a duty for a while."""
        return cast(int, self._run("lease", (lease, counter), (owner, lease_ms)))

    def show(
        self,
        *,
        heartbeat: Key,
        processes: Key,
        shown: Key,
        signals: Key,
        identity: str,
        shown_ms: int,
        fields: Sequence[Arg],
    ) -> bytes | None:
        """Appear in Sidekiq's view."""
        reply = self._run("show", (heartbeat, processes, shown, signals), (identity, shown_ms, *fields))
        return cast(bytes | None, reply)

    def show_work(self, *, heartbeat: Key, work: Key, shown_ms: int, entries: Sequence[Arg]) -> int:
        """Show what runs in Sidekiq's view."""
        return cast(int, self._run("show_work", (heartbeat, work), (shown_ms, *entries)))
