"""The worker process: one loop that settles, claims and starts jobs.

Nothing in here runs a job: threads do, and ring the loop when they are done. The loop waits for whatever comes
first: a job that ended, a doorbell, a word from the supervisor, or the next thing that is due.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from multiprocessing.connection import Connection

import attrs

from reliq.app import Reliq
from reliq.backoff import reconnect_delay
from reliq.clock import SystemClock
from reliq.config import Config
from reliq.errors import JobInterrupted, OldServer, StoreError
from reliq.outcome import DONE, Bury, Drop, Release, Retry
from reliq.server.board import Board
from reliq.server.counts import Counts
from reliq.server.ears import Ears
from reliq.server.executor.run import Run
from reliq.server.executor.threads import Threads
from reliq.server.fetching import fetch_of
from reliq.server.heartbeat import Heartbeat, Patient, beat_for, hostname
from reliq.server.intake import Intake
from reliq.server.role import Role
from reliq.server.telling import Telling
from reliq.store.claims import Claim, Condemned, Ending, release_all
from reliq.store.connection import check_server
from reliq.store.opening import Store
from reliq.store.probe import Probe
from reliq.store.processes import Processes, new_identity

LINGER = 0.001
"""Seconds between two passes while quick jobs run: so many as end in that time are settled by one turn."""

TICK = 0.5
"""Seconds between two passes of the loop, at the most."""

_log = logging.getLogger("reliq.worker")


class Worker:
    """The loop. `run` returns when the process has left the fleet, or could not and is to be killed."""

    def __init__(self, app: Reliq, config: Config, role: Role, pipe: Connection, board: Board) -> None:
        self._config = config
        self._role = role
        self._board = board
        self._counts = Counts(board.table)
        self._clock = SystemClock()
        self._store = Store(config)
        self._ears = Ears(pipe)
        self._probe = Probe(self._store)
        self._threads = Threads(
            role.concurrency,
            app.handlers,
            self._probe,
            record=board.start,
            may_start=self._may_start,
            wake=self._ears.wake,
            log_jobs=role.worker.log_jobs,
        )
        self._intake = Intake(self._threads, role.queues, role.prefetch, self._may_start, self._clock)
        self._settled_at, self._hands_back = 0.0, False
        self._endings: list[Ending] = []
        # Interrupted jobs, until all have unwound: then they go back together, in their old order.
        self._parked: list[Ending] = []
        self._epoch = 0
        self._mute = False  # told to be quiet, or to stop
        self._quiet_asked = False  # and has not answered yet
        self._stop_at: float | None = None
        self._kill_at: float | None = None
        self._fenced = False  # condemned while stopping: nothing can be settled any more
        self._over = False
        self._asked = False  # told to stop by a signal of its own
        self._own_heart: Heartbeat | None = None
        self._broken: StoreError | None = None
        self._failures, self._retry_at = 0, 0.0
        self._telling = Telling(self._threads, self._intake, self._clock, self._store)
        self._begin_identity()

    def _begin_identity(self) -> None:
        self.identity = new_identity(hostname(), os.getpid())
        self._board.renew(self._epoch)
        self._fetch = fetch_of(self._role, self._store, self.identity, self._clock)
        self._processes = Processes(self._store, self._fetch.link)
        self._entry = self._role.entry(self.identity, hostname(), os.getpid(), self._clock.wall())
        self._announced = False

    # -- the loop

    def run(self) -> None:
        """Work until told to stop. Raises OldServer, before any job ran."""
        while not self._over:
            try:
                self._pass()
            except Condemned:
                self._condemned()
            except StoreError as error:
                if isinstance(error, OldServer) and not self._announced:
                    raise  # time will not mend it
                self._trouble_is(error)
        self._close()

    def _pass(self) -> None:
        self._listen(self._pause())
        self._sort(self._intake.collect())
        now = self._clock.mono()
        self._threads.expire(now)
        if self._asked:
            self._asked = False
            self._stop(self._role.worker.timeout)
        if self._stop_at is not None:
            self._go_down(now)
            if self._over:
                return  # one that has not announced itself yet must not do so now
        if self._broken is not None or not self._announced:
            if now >= self._retry_at and not self._fenced:
                self._mend()
            return
        if self._fenced:
            self._endings.clear()
            return
        if self._board.fenced(self._epoch):
            raise Condemned(self.identity)
        if self._fetch.suspicious:
            self._recover()
            self._announce()
        self._release(self._intake.take_back() if self._mute else self._intake.overdue())
        self._turn()
        self._ring_off_or_on()
        self._telling.tell(self._processes, self.identity, now)

    def _held(self) -> int:
        return self._threads.held + len(self._endings) + len(self._parked)

    def _standing(self) -> bool:
        """Whether the last confirmed beat is young enough to start something new."""
        return self._clock.boot() - self._board.standing(self._epoch) < self._config.ttl / 2

    def _may_start(self) -> bool:
        # Asked by threads, too.
        return not self._mute and self._standing() and not self._board.fenced(self._epoch)

    # -- listening

    def _pause(self) -> float:
        """Seconds until something is due by itself."""
        now = self._clock.mono()
        if self._fenced:
            return TICK  # nothing is due any more but the end of what runs
        if self._broken is not None or not self._announced:
            return max(0.0, min(TICK, self._retry_at - now))
        until = now + min(TICK, self._config.beat)
        if self._threads.waiting and self._may_start():
            until = now + LINGER
        turn = self._turn_due()
        if turn is not None:
            until = min(until, turn)
        for due in (self._threads.expire(now), self._stop_at, self._kill_at):
            if due is not None and due > now:
                until = min(until, due)
        return max(0.0, until - now)

    def _listen(self, pause: float) -> None:
        self._board.count(self._threads.busy, self._held())
        self._attend()
        if self._quiet_asked and self._announced and not self._broken and not self._fetch.sockets():
            # Only now does what the board says hold: no doorbell can bring another job.
            self._quiet_asked = False
            self._ears.say("quiet")
        heard = self._ears.listen([] if self._broken else self._fetch.sockets(), pause)
        for word, *more in heard.words:
            if word == "quiet":
                self._mute = self._quiet_asked = True
            elif word == "stop":
                self._stop(more[0])
        if heard.orphaned:
            self._orphaned()
        for bell in heard.rung:
            claim = self._fetch.ring(bell)
            self._attend(proved=True)
            self._intake.take([] if claim is None else [claim])

    def _attend(self, *, proved: bool = False) -> None:
        excused = self._mute or self._threads.busy >= self._threads.concurrency
        self._board.attend(self._clock.mono(), proved=proved, excused=excused)

    def _orphaned(self) -> None:
        """The supervisor is gone: beat for oneself, finish, and leave."""
        _log.warning("the supervisor is gone: this process finishes its jobs and leaves")
        self._own_heart = beat_for(Patient(self._entry, self._epoch, self._board, {}), self._store, self._clock)
        self._stop(self._role.worker.timeout)

    # -- jobs

    def _release(self, claims: list[Claim]) -> None:
        if claims:
            self._endings += release_all(claims)
            self._hands_back = True

    def _sort(self, ended: list[tuple[Run, Ending]]) -> None:
        """Put what ended where it belongs: to be settled, aside until all have unwound, or nowhere."""
        self._counts.ended(ended, self.identity)
        self._telling.ended(ended, self.identity)
        for run, ending in ended:
            outcome = ending.outcome
            if ending.claim.identity != self.identity:
                run.report_in_vain()
                self._board.clear(ending.claim.mark)
            elif outcome is DONE:
                self._endings.append(ending)
            else:
                if isinstance(outcome, Retry | Bury | Drop):
                    run.report(outcome)
                interrupted = self._kill_at is not None and isinstance(outcome, Release)
                (self._parked if interrupted else self._endings).append(ending)

    def _turn(self) -> None:
        due = self._turn_due()
        if due is None or due > self._clock.mono():
            return
        # What is handed back is for others: the same turn must not claim it again.
        claims = self._exchange([] if self._hands_back else self._intake.limits())
        self._hands_back = False
        self._intake.take(claims)

    def _exchange(self, limits: Sequence[int]) -> list[Claim]:
        self._counts.send(self._fetch.number + 1)
        claims = self._fetch.exchange(self._endings, limits)
        self._counts.applied(claimed=len(claims), settled=len(self._endings))
        self._attend(proved=True)
        self._settled_at = self._clock.mono()
        self._unmark(self._endings)
        self._endings = []
        return claims

    def _turn_due(self) -> float | None:
        """When (monotonic clock) the next turn is to be made, None if there is nothing to do."""
        due = 0.0 if self._endings else None
        if due is None and any(self._intake.limits()):
            due = self._fetch.next_look()
        if due is not None and self._intake.plenty():
            due = max(due, self._settled_at + LINGER)  # one turn for many quick jobs
        return due

    def _unmark(self, endings: list[Ending]) -> None:
        for ending in endings:
            self._board.clear(ending.claim.mark)
            ending.claim.mark = None

    def _ring_off_or_on(self) -> None:
        if any(self._intake.limits()):
            self._fetch.rest()
        elif self._fetch.sockets():
            self._intake.take(self._fetch.quiet())

    # -- trouble

    def _trouble_is(self, error: StoreError) -> None:
        self._failures += 1
        self._counts.trouble(error)
        if self._broken is None:
            _log.warning("%s; trying again", error)
        if not self._announced:
            self._ears.say("unreachable", str(error))
        self._broken = error
        self._retry_at = self._clock.mono() + reconnect_delay(self._failures, self._config.longest_backoff)

    def _mend(self) -> None:
        """Connect anew, find out what became of the last turn, and say who one is."""
        if self._announced:
            self._recover()
        self._announce()
        if self._broken is not None:
            _log.info("Redis answers again")
        self._broken, self._failures = None, 0

    def _recover(self) -> None:
        waiting = self._intake.take_back()
        try:
            adopted, left, gone = self._fetch.recover(self._endings, waiting)
        except StoreError:
            self._intake.take(waiting)  # not when condemned: nothing more of that identity may start
            raise
        lost = {id(claim) for claim in gone}
        self._intake.take([claim for claim in waiting if id(claim) not in lost])
        if gone:
            _log.warning("%d claimed jobs are no longer held: Redis lost them, or somebody else has them", len(gone))
        kept = {id(ending) for ending in left}
        self._counts.resolve(applied=any(id(ending) not in kept for ending in self._endings))
        self._unmark([ending for ending in self._endings if id(ending) not in kept])
        self._endings = left
        self._intake.take(adopted)

    def _announce(self) -> None:
        self._fetch.connect()
        self._entry = attrs.evolve(
            self._entry,
            run_id=check_server(self._fetch.link),
            clients=self._fetch.clients(),
            stopping=self._stop_at not in (None, math.inf),
        )
        sent = self._clock.boot()
        self._processes.register(self._entry)
        self._board.stand(self._epoch, sent)
        self._announced = True
        self._ears.say("ready", self._epoch, self._entry)

    def _condemned(self) -> None:
        """Declared dead while alive: what runs ends for nothing, and a new identity begins."""
        _log.warning(
            "%s was declared dead (it could not beat for too long): its %d jobs run again elsewhere",
            self.identity,
            self._threads.busy,
        )
        self._intake.take_back()
        self._counts.in_vain(len(self._endings + self._parked))
        self._unmark(self._endings + self._parked)
        self._endings, self._parked = [], []
        self._fetch.close()
        if self._stop_at is not None:
            self._fenced = True
            return
        self._epoch += 1
        self._begin_identity()
        self._retry_at = 0.0

    # -- leaving

    def _stop(self, timeout: float) -> None:
        """Quiet now; interrupt what still runs after `timeout` seconds; infinite, it leaves for want of jobs."""
        now = self._clock.mono()
        self._mute = True
        self._stop_at = now + timeout if self._stop_at is None else min(self._stop_at, now + timeout)
        if self._stop_at < math.inf and self._announced and self._broken is None and not self._fenced:
            # Before anything else: a SIGKILL from here on is no crash of the jobs.
            self._announce()

    def _go_down(self, now: float) -> None:
        if self._parked and self._threads.busy == 0:
            self._endings += self._parked
            self._parked = []
        if self._held() == 0:
            if self._fenced or not self._announced:
                self._over = True
            elif self._broken is None:
                self._leave()
            return
        if self._stop_at is not None and now >= self._stop_at:
            if self._kill_at is None:
                self._kill_at = now + self._role.worker.grace
                _log.warning("the grace time is over: interrupting %d jobs", self._threads.busy)
            self._threads.interrupt(JobInterrupted)
            if now >= self._kill_at and self._threads.busy and not self._endings:
                self._stuck()

    def _stuck(self) -> None:
        # Its threads do not unwind, so their jobs may not be handed back by a process that still runs them.
        if self._own_heart is not None:
            _log.error("%d jobs did not stop: exiting without them", self._threads.busy)
            os._exit(1)
        self._ears.say("stuck", self._threads.busy)

    def _leave(self) -> None:
        """End the doorbells, hand back what they brought, make sure that nothing is held, and go."""
        self._intake.take(self._fetch.quiet())
        if self._endings:
            self._exchange([])
        self._recover()
        self._telling.tell_timelines(self._processes)
        if self._held() == 0 and not self._processes.leave(self.identity, self._role.queues):
            self._over = True

    def _close(self) -> None:
        self._ears.say("left")
        self._threads.stop(1.0)
        if self._own_heart is not None:
            self._own_heart.end()
        self._fetch.close()
        self._probe.close()
        self._store.close()
        self._ears.close()

    # -- what others see

    def ask_to_stop(self) -> None:
        """Stop as if the supervisor had asked for it; may be called from a signal handler."""
        self._asked = True
        self._ears.wake()

    def stacks(self) -> str:
        """Return what all threads and tasks do, as text."""
        return self._threads.stacks()
