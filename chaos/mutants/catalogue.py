"""Deliberately broken builds of reliq, each of which the harness must find.

A mutant is a set of edits to a copy of the tree: a text that stands exactly once in a file, and what takes its place.
"""

from __future__ import annotations

import attrs

from chaos.scenarios import ORDINARY, SCENARIOS, Scenario


@attrs.frozen
class Edit:
    """One change of one file."""

    path: str
    old: str
    new: str


@attrs.frozen(kw_only=True)
class Mutant:
    """A broken build: how it is broken, what to do to it, and which checks of the oracle may say so."""

    name: str
    what: str
    edits: tuple[Edit, ...]
    scenario: str
    """A name of PLAYS."""
    found_by: tuple[str, ...]
    """Checks of which at least one must find something."""


STEADY = {name: weight for name, weight in ORDINARY.items() if name not in ("flaky", "once", "once-failing")}
"""Jobs that never fail: no retry is waited for at the end."""


def _play(name: str, *, base: str, **changes: object) -> Scenario:
    defaults: dict[str, object] = {
        "workload": STEADY,
        "gap": 0.7,
        "drain_within": 15.0,
        "pods": 3,
        "processes": 1,
        "beat": 0.3,
        "ttl": 1.2,
        "idle_for": 1.5,
    }
    return attrs.evolve(SCENARIOS[base], name=name, **(defaults | changes))  # type: ignore[arg-type]


PLAYS: dict[str, Scenario] = {
    play.name: play
    for play in (
        _play("kills", base="kills", faults={"kill-child": 2, "kill-pod": 2, "kill-after-claim": 1}),
        _play(
            "frozen",
            base="freezes",
            faults={"freeze-pod": 1},
            workload={"late-fence": 10, "long": 4, "work": 20},
            gap=1.0,
            pods=4,
            drain_within=20.0,
        ),
        # As long as nobody may take them for dead, but longer than their heartbeats last.
        _play(
            "brief",
            base="freezes",
            faults={"half-open-briefly": 1, "freeze-briefly": 1},
            # A job that asks for a fence number meanwhile fails, and its retry comes half a minute later.
            drain_within=60.0,
            gap=0.6,
            beat=0.2,
            ttl=1.0,
        ),
        # Jobs that enqueue others: the producer outside sends the scripts of the unbroken build.
        _play(
            "parents",
            base="replies",
            faults={"lose-reply": 1},
            lose_only=("enqueue",),
            workload={"parent": 10, "long": 3, "work": 5},
            gap=0.3,
            pods=1,
        ),
        _play("replies", base="replies", faults={"lose-reply": 3, "late-command": 1}, gap=0.1, pods=1),
        _play(
            "stops",
            base="slow-stop",
            faults={"delete-pod": 1},
            workload={"lengthy": 5, "work": 10},
            timeout=0.3,
            gap=1.0,
            rate=8.0,
            drain_within=30.0,
        ),
        _play(
            "backlog",
            base="slow-stop",
            faults={"delete-pod": 1},
            workload={"lengthy": 1, "work": 6},
            timeout=0.3,
            gap=1.5,
            rate=50.0,
            pods=2,
            concurrency=6,
            drain_within=60.0,
        ),
        _play(
            "poison",
            base="poison",
            faults={"kill-child": 1},
            workload={"work": 20, "killer": 2},
            rate=10.0,
            memory=None,
        ),
        _play("ttl", base="ttl", faults={"kill-pod": 1}, gap=3.0),
        _play("timers", base="kills", faults={"kill-child": 1}, workload={"scheduled": 2, "work": 3, "long": 1}),
        _play(
            "slow-beats",
            base="kills",
            faults={"kill-child": 1},
            workload={"long": 2, "work": 10},
            gap=2.5,
            beat=1.2,
            ttl=4.8,
        ),
    )
}
"""What is played to find them. The unbroken build has to be clean in each."""


MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="ack-before-run",
        what="a job is taken off its private list before it runs",
        edits=(
            Edit(
                "reliq/server/process.py",
                "        self._hands_back = False\n        self._intake.take(claims)",
                "        self._hands_back = False\n"
                "        for claim in claims:\n"
                "            name = self._role.queues[claim.place]\n"
                '            self._fetch.link.call("LREM", f"private:{claim.identity}:{name}", -1, claim.payload)\n'
                "        self._intake.take(claims)",
            ),
        ),
        scenario="kills",
        found_by=("conservation", "lost"),
    ),
    Mutant(
        name="no-fence",
        what="a process that was declared dead still draws fence numbers",
        edits=(Edit("lua/fence.lua", "if redis.call('GET', heartbeat) == 'fenced' then", "if false then"),),
        scenario="frozen",
        found_by=("fences",),
    ),
    Mutant(
        name="no-recheck",
        what="whoever is late is declared dead, without another look at the heartbeat",
        edits=(
            Edit("lua/condemn.lua", "if not proven then", "if false then"),
            Edit(
                "reliq/server/reaper.py",
                "look.watched_ms >= self._config.confirm_after * 1000 and self._watched(identity)",
                "self._watched(identity)",
            ),
        ),
        scenario="brief",
        found_by=("duplicates",),
    ),
    Mutant(
        name="wrong-end",
        what="released jobs go to the end of the queue where new ones are put",
        edits=(
            Edit(
                "lua/turn.lua",
                "call('RPUSH', KEYS[fixed_keys + index], payload)",
                "call('LPUSH', KEYS[fixed_keys + index], payload)",
            ),
        ),
        scenario="backlog",
        found_by=("order",),
    ),
    Mutant(
        name="forgets-lost-reply",
        what="a claim whose reply was lost is not looked for",
        edits=(
            Edit(
                "reliq/server/fetcher.py",
                "        self._learn(new)\n        return new\n",
                "        self._learn(new)\n        return []\n",
            ),
        ),
        scenario="replies",
        found_by=("liveness", "lost"),
    ),
    Mutant(
        name="lock-for-ever",
        what="recovery is led by whoever holds a lock, and the lock has no expiry",
        edits=(
            Edit(
                "reliq/server/reaper.py",
                '        """Look once at everything that is overdue."""\n        try:\n',
                '        """Look once at everything that is overdue."""\n        try:\n'
                '            lock = self._recovery.link.call("SET", "lease:reap", id(self), "NX")\n'
                '            self._leads = getattr(self, "_leads", False) or lock is not None\n'
                "            if not self._leads:\n"
                "                return 0.5\n",
            ),
        ),
        scenario="kills",
        found_by=("lost", "liveness", "recovery", "leaks"),
    ),
    Mutant(
        name="re-encoding",
        what="recovery decodes payloads and encodes them anew",
        edits=(
            Edit(
                "lua/reap.lua",
                "    call('LMOVE', private, public, 'LEFT', 'RIGHT')\n",
                "    call('LPOP', private)\n    call('RPUSH', public, cjson.encode(cjson.decode(step.payload)))\n",
            ),
        ),
        scenario="kills",
        found_by=("bytes",),
    ),
    Mutant(
        name="unguarded-settle",
        what="a settle counts and retries without having removed anything, and without asking who is dead",
        edits=(
            Edit("lua/turn.lua", "if call('GET', heartbeat) == 'fenced' then", "if false then"),
            Edit(
                "lua/turn.lua",
                "gone = call('LREM', private, -1, payload) == 1\n",
                "gone = call('LREM', private, -1, payload) >= 0\n",
            ),
            Edit(
                "lua/turn.lua",
                "if not call('LPOS', private, payload, 'RANK', -1) then",
                "if call('LPOS', private, payload, 'RANK', -1) == nil then",
            ),
        ),
        scenario="frozen",
        found_by=("counters", "conservation", "duplicates"),
    ),
    Mutant(
        name="no-crash-count",
        what="crashes are not counted",
        edits=(Edit("lua/reap.lua", "    if started[jid] then\n", "    if false then\n"),),
        scenario="poison",
        found_by=("crashes", "liveness", "lost"),
    ),
    Mutant(
        name="interrupted-is-done",
        what="a job that was interrupted by a stop counts as done",
        edits=(
            Edit(
                "reliq/server/executor/run.py",
                "            return Release()  # whatever",
                "            return DONE  # whatever",
            ),
        ),
        scenario="stops",
        found_by=("lost", "conservation"),
    ),
    Mutant(
        name="hands-back-early",
        what="running jobs are handed back when the grace time begins, not when they have unwound",
        edits=(
            Edit(
                "reliq/server/process.py",
                "            self._threads.interrupt(JobInterrupted)\n",
                "            for run in self._threads.runs():\n"
                "                if run.claim.mark is not None:\n"
                "                    self._endings += release_all([run.claim])\n"
                "            self._turn()\n"
                "            self._threads.interrupt(JobInterrupted)\n",
            ),
        ),
        scenario="stops",
        found_by=("duplicates", "conservation"),
    ),
    Mutant(
        name="promotes-again",
        what="a due job is copied to its queue and stays where it was",
        edits=(Edit("lua/promote.lua", "    redis.call('ZREM', source, member)\n", ""),),
        scenario="timers",
        found_by=("conservation", "duplicates"),
    ),
    Mutant(
        name="pushes-twice",
        what="the number of an enqueue is not looked at, so a resend pushes again",
        edits=(
            Edit(
                "lua/enqueue.lua",
                "if number <= tonumber(redis.call('GET', sent) or 0) then",
                "if false then",
            ),
        ),
        scenario="parents",
        found_by=("conservation", "duplicates"),
    ),
    Mutant(
        name="slow-recovery",
        what="a supervisor does not bring back the jobs of its own dead child, a reaper has to",
        edits=(
            Edit(
                "reliq/server/supervisor.py",
                "                self._orphans.append(Orphan(child, entry, counter, child.board.started(), cause))\n",
                "",
            ),
        ),
        scenario="slow-beats",
        found_by=("recovery",),
    ),
    Mutant(
        name="burial-at-sea",
        what="a job that has crashed too often is dropped instead of buried",
        edits=(Edit("lua/reap.lua", "    call('ZADD', dead, now, text)\n", ""),),
        scenario="poison",
        found_by=("lost", "conservation"),
    ),
    Mutant(
        name="immortal-heartbeat",
        what="a heartbeat does not expire",
        edits=(
            Edit("lua/beat.lua", "redis.call('PEXPIRE', heartbeat, ttl_ms)\n", "redis.call('PERSIST', heartbeat)\n"),
            Edit(
                "lua/register.lua", "redis.call('PEXPIRE', heartbeat, ttl_ms)\n", "redis.call('PERSIST', heartbeat)\n"
            ),
        ),
        scenario="ttl",
        found_by=("lost", "liveness", "leaks", "recovery"),
    ),
)
