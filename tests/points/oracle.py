"""The oracle: after every command, does what lies in Redis agree with what has happened?

It knows what was pushed, which runs began and ended, who died and who was only out of reach; it hears every command
that the server has applied, with a census from before and one from after. What it holds against them are the promises:
conservation, fencing, bytes, no run without a cause, no verdict on the living, the crash budget, the counters.
"""

from collections import Counter, defaultdict
from collections.abc import Callable

import attrs

from reliq.edit import members
from reliq.errors import BadPayload
from reliq.job import jid_of
from tests.points.calls import Call, Settle
from tests.points.census import Census

CHANGING = {"error_class", "error_message", "retry_count", "failed_at", "retried_at", "enqueued_at", "queue"}
"""Fields that a failure, a promotion or a burial writes. All others keep their text."""

CRASH_LIMIT = 3


class Violation(AssertionError):
    """A promise was broken."""


@attrs.define
class Story:
    """One job, by its jid; `copies` of the same bytes have one story.

    `fate` is what must become of it: `done`, `dead`, `dropped`.
    """

    jid: str
    payload: bytes
    fate: str
    wanted: int = 0
    """How many copies producers meant to push."""
    copies: int = 0
    starts: int = 0
    causes: int = 0
    """How often it may have started: once per copy, and once more for each failure, death, verdict or interruption."""
    ended: Counter[str] = attrs.Factory(Counter)
    settled: Counter[str] = attrs.Factory(Counter)
    charged: Counter[str] = attrs.Factory(Counter)
    """Crashes on its record, by the identity that died."""
    crash_buried: bool = False


@attrs.define
class Life:
    """One identity, as the oracle knows it. Jobs are counted by jid."""

    running: Counter[str] = attrs.Factory(Counter)
    unsettled: Counter[str] = attrs.Factory(Counter)
    started: set[str] = attrs.Factory(set)
    interrupted: Counter[str] = attrs.Factory(Counter)
    died_with: set[str] = attrs.Factory(set)
    """Jobs that had started and were held when it was condemned."""
    swept_by: set[str] = attrs.Factory(set)
    told: bool = False
    """Its supervisor has told it to stop."""
    stopping: bool = False
    """Redis knows that it was told to stop."""
    left: bool = False
    out_of_reach: bool = False
    """It died, stood still or was cut off, and has not beaten since."""


class Oracle:
    """Judges. What it finds is in `violations`, one sentence each."""

    def __init__(self) -> None:
        self.stories: dict[str, Story] = {}
        self.lives: dict[str, Life] = defaultdict(Life)
        self.violations: list[str] = []
        self.settles: Counter[str] = Counter()
        self.judged = 0
        self.up: Callable[[str], bool] = lambda identity: True
        """Whether the process behind an identity is alive and in reach at this moment."""
        self._known: dict[bytes, str] = {}

    # -- what happens outside of Redis

    def born(self, payload: bytes, fate: str) -> Story:
        """A job exists, though nowhere yet."""
        jid = jid_of(payload)
        self._known[payload] = jid
        return self.stories.setdefault(jid, Story(jid, payload, fate))

    def began(self, identity: str, jid: str) -> None:
        """A run has begun."""
        story, life = self.stories[jid], self.lives[identity]
        story.starts += 1
        if story.starts > story.causes:
            self.find(f"{jid} began for the {story.starts}. time, {story.causes} runs have a cause")
        life.running[jid] += 1
        life.unsettled[jid] += 1
        life.started.add(jid)

    def ended(self, identity: str, jid: str, kind: str) -> None:
        """A run has ended, and may be settled from now on."""
        life = self.lives[identity]
        self.stories[jid].ended[kind] += 1
        if life.running[jid] > 0:
            life.running[jid] -= 1
            if kind == "release":
                life.interrupted[jid] += 1

    def find(self, what: str) -> None:
        """Something is wrong."""
        self.violations.append(what)

    # -- what happens in Redis

    def applied(self, call: Call, before: Census, after: Census) -> None:
        """Judge one command."""
        self.judged += 1
        self._learn(call)
        pushed = Counter(map(self.story_of, call.pushed()))
        settles = call.effective_settles()
        gone = Counter(self.story_of(settle.payload) for settle in settles if settle.kind in {"done", "drop"})
        for jid, number in pushed.items():
            story = self.stories[jid]
            story.copies += number
            story.causes += number
            if story.copies > story.wanted:
                self.find(f"{jid} was pushed {story.copies} times, its producer wanted {story.wanted}")
        was, now = self.homes(before), self.homes(after)
        for jid in was.keys() | now.keys():
            expected = was[jid] + pushed[jid] - gone[jid]
            if now[jid] != expected:
                self.find(f"{call.name} of {call.actor}: {jid} had {was[jid]} homes, has {now[jid]}, not {expected}")
        self._same_bytes(call, settles, before, after)
        if settles and before.fenced(call.identity):
            self.find(f"{call.identity} was condemned before, and settled {len(settles)} jobs")
        for settle in settles:
            self._settled(call, settle)
        self._count(settles, before, after)
        self._register(call)
        self._verdicts(call, before, after)
        self._charges(call, settles, before, after)
        self._quarantined(call, before, after)
        self._held(after)

    def homes(self, census: Census) -> Counter[str]:
        """In how many places each job is."""
        return Counter(self.story_of(payload) for found in census.places.values() for payload in found)

    def story_of(self, payload: bytes) -> str:
        """The job that these bytes are. Bytes that nobody wrote are a finding, and a job of their own."""
        jid = self._known.get(payload)
        if jid is None:
            jid = jid_of(payload)
            self.find(f"bytes that nobody has written: {payload!r}")
            self._known[payload] = jid
            self.stories.setdefault(jid, Story(jid, payload, "done"))
        return jid

    def _learn(self, call: Call) -> None:
        changes = [*call.changes(), *((self._origin(payload), payload) for payload in call.buried())]
        for old, new in changes:
            if new in self._known or old not in self._known:
                continue
            jid = self._known[old]
            if not _same_job(self.stories[jid].payload, new):
                self.find(f"{call.name} of {call.actor} changed {old!r} to {new!r}")
            self._known[new] = jid

    def _same_bytes(self, call: Call, settles: list[Settle], before: Census, after: Census) -> None:
        was, now = before.payloads(), after.payloads()
        if was == now:
            return
        gone, new = was - now, now - was
        taken = Counter(settle.payload for settle in settles if settle.kind != "release")
        written = Counter(settle.replacement for settle in settles if settle.kind in {"retry", "bury"})
        if call.name == "promote":
            for member, payload in call.changes():
                taken[member] += 1
                written[payload] += 1
        elif call.name == "reap":
            taken, written = gone, Counter(call.buried())
        written.update(call.pushed())
        if extra := (gone - taken) + (new - written):
            self.find(f"{call.name} of {call.actor} took or wrote {list(extra)}")

    def _origin(self, buried: bytes) -> bytes:
        story = self.stories.get(self._known.get(buried, jid_of(buried)))
        return story.payload if story else buried

    def _settled(self, call: Call, settle: Settle) -> None:
        story, life = self.stories[self.story_of(settle.payload)], self.lives[call.identity]
        self.settles[settle.kind] += 1
        story.settled[settle.kind] += 1
        if settle.kind == "release":
            if life.interrupted[story.jid] > 0:
                life.interrupted[story.jid] -= 1
                story.causes += 1
                life.unsettled[story.jid] -= 1
            return
        if story.settled[settle.kind] > story.ended[settle.kind]:
            self.find(
                f"{settle.kind} of {story.jid} for the {story.settled[settle.kind]}. time, "
                f"{story.ended[settle.kind]} runs ended so"
            )
        story.causes += settle.kind == "retry"
        life.unsettled[story.jid] = max(0, life.unsettled[story.jid] - 1)

    def _count(self, settles: list[Settle], before: Census, after: Census) -> None:
        fails = sum(settle.kind in {"retry", "bury", "drop"} for settle in settles)
        done = fails + sum(settle.kind == "done" for settle in settles)
        for name, was, now, expected in (
            ("processed", before.processed, after.processed, done),
            ("failed", before.failed, after.failed, fails),
        ):
            if now - was != expected:
                self.find(f"stat:{name} went from {was} to {now} with {expected} settles")

    def _register(self, call: Call) -> None:
        life = self.lives[call.identity]
        if call.name in {"beat", "register"} and not call.refused:
            if self.up(call.identity):
                life.out_of_reach = False
            if call.name == "register" and b'"stopping":true' in call.args[2]:
                life.stopping = True

    def _verdicts(self, call: Call, before: Census, after: Census) -> None:
        for identity in after.hearts:
            if not after.fenced(identity) or before.fenced(identity):
                continue
            life = self.lives[identity]
            if call.name == "leave" and call.identity == identity:
                life.left = True
                if identity in after.private:
                    self.find(f"{identity} left and holds {len(after.private[identity])} jobs")
            elif not life.out_of_reach:
                self.find(f"{call.name} of {call.actor} condemned {identity}, which is alive and in reach")
            held = Counter(self.story_of(payload) for payload in after.private.get(identity, []))
            for jid, number in (life.unsettled & held).items():
                self.stories[jid].causes += number
                life.died_with.add(jid)

    def _charges(self, call: Call, settles: list[Settle], before: Census, after: Census) -> None:
        if call.name == "reap" and not call.refused and any(call.reply[2:]):
            self.lives[call.identity].swept_by.add(call.actor)
        cleared = {self.story_of(settle.payload) for settle in settles if settle.kind in {"done", "bury", "drop"}}
        buried = {self.story_of(payload) for payload in call.buried()}
        for jid in before.crashes.keys() | after.crashes.keys() | buried:
            was, now = before.crashes.get(jid, 0), after.crashes.get(jid, 0)
            if jid in buried:
                self._charge(call, self.stories[jid], was + 1)
                self.stories[jid].crash_buried = True
                if was + 1 != CRASH_LIMIT or now:
                    self.find(f"{jid} was buried with {was} crashes on record, and {now} are left there")
            elif now > was:
                self._charge(call, self.stories[jid], now)
            elif now < was and jid not in cleared:
                self.find(f"{call.name} of {call.actor} cleared the record of {jid}")

    def _charge(self, call: Call, story: Story, count: int) -> None:
        life = self.lives[call.identity]
        story.charged[call.identity] += 1
        if call.name != "reap":
            self.find(f"{call.name} charged {story.jid} with a crash")
        elif life.stopping:
            self.find(f"{story.jid} was charged with a crash of {call.identity}, which had been told to stop")
        elif life.told and call.actor.endswith("supervisor"):
            self.find(f"{story.jid} was charged by a supervisor that had told {call.identity} to stop")
        elif story.jid not in life.started:
            self.find(f"{story.jid} was charged with a crash of {call.identity}, where it never started")
        if story.charged[call.identity] > story.copies or count > story.charged.total():
            self.find(f"{story.jid} was charged too often: {count}, {dict(story.charged)}")

    def _quarantined(self, call: Call, before: Census, after: Census) -> None:
        new = Counter(after.waiting("quarantine:")) - Counter(before.waiting("quarantine:"))
        for payload in new:
            count = after.crashes.get(self.story_of(payload), 0)
            if count < CRASH_LIMIT - 1:
                self.find(f"{call.name} put {self.story_of(payload)} into quarantine with {count} crashes on record")

    def _held(self, after: Census) -> None:
        for identity, life in self.lives.items():
            if not +life.running or after.fenced(identity):
                continue
            held = Counter(self.story_of(payload) for payload in after.private.get(identity, []))
            for jid, number in life.running.items():
                if held[jid] < number:
                    self.find(f"{jid} runs {number} times in {identity}, which holds {held[jid]} of it")

    # -- the end

    def close(self, census: Census) -> None:
        """Judge what is left when everything has finished."""
        dead = Counter(map(self.story_of, census.places.get("dead", [])))
        for name, found in census.places.items():
            if name != "dead":
                self.find(f"left in {name}: {[self.story_of(payload) for payload in found]}")
        for story in self.stories.values():
            self._close_story(story, dead[story.jid])
        for identity, life in self.lives.items():
            self._close_life(identity, life)
        if census.crashes:
            self.find(f"crash records are left: {census.crashes}")
        for name, count in (
            ("suspects", len(census.suspects)),
            ("fleet", len(census.fleet)),
            ("beats", len(census.beats)),
        ):
            if count:
                self.find(f"{name} still has {count} entries")
        fails = sum(self.settles[kind] for kind in ("retry", "bury", "drop"))
        if (census.processed, census.failed) != (fails + self.settles["done"], fails):
            self.find(f"processed {census.processed}, failed {census.failed}, settled: {dict(self.settles)}")

    def _close_story(self, story: Story, dead: int) -> None:
        ends = {"done": story.settled["done"], "dropped": story.settled["drop"], "dead": dead}
        if sum(ends.values()) != story.copies:
            self.find(f"{story.jid} was pushed {story.copies} times, and came to {ends}")
        if ends[story.fate] != story.copies and not story.crash_buried:
            self.find(f"{story.jid} should be {story.fate}, and came to {ends}")

    def _close_life(self, identity: str, life: Life) -> None:
        # Who saw it die knows exactly what had started; who came later, what was last shown.
        if life.told or life.stopping or not all(actor.endswith("supervisor") for actor in life.swept_by):
            return
        for jid in life.died_with:
            if not self.stories[jid].charged[identity]:
                self.find(f"{jid} ran in {identity} when that died, and was not charged with it")


def _same_job(original: bytes, now: bytes) -> bool:
    """Whether only fields that may change have changed."""
    try:
        was, is_now = members(original), members(now)
    except BadPayload:
        return original == now
    return {name: text for name, text in was.items() if name not in CHANGING} == {
        name: text for name, text in is_now.items() if name not in CHANGING
    }
