"""The supervisor: parent of the worker processes of one pod. Imports no application code, runs no job."""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from reliq.clock import SystemClock
from reliq.config import Config
from reliq.errors import ConfigError, Refused, StoreError, Unreachable
from reliq.server.children import Child, Nursery, Orphan
from reliq.server.health import Health
from reliq.server.heartbeat import Heartbeat, Patient
from reliq.server.pidfile import PidFile, Status
from reliq.server.promoter import Promoter
from reliq.server.quarantine import QuarantineWatch
from reliq.server.reaper import Reaper
from reliq.server.recovery import Recovery
from reliq.server.role import Role
from reliq.server.service import Service
from reliq.server.witness import Witness
from reliq.store.connection import memory_policy
from reliq.store.opening import Store
from reliq.store.processes import Entry

if TYPE_CHECKING:
    from reliq.server.http import HttpServer

LATE = 2.0
"""Seconds beyond timeout and grace after which a child that has not left is killed."""

LOOK = 1.0
"""Seconds between two passes in which nothing has happened."""

BREATH = 0.1
"""Seconds before a replacement of a process that died within its first second; doubled for each that never began."""

LONGEST_PAUSE = 10.0

NURSE_EVERY = 0.5
"""Seconds between two starts of a process for the quarantine: what waits there may kill it at once."""

_log = logging.getLogger("reliq.supervisor")


class Supervisor:
    """Runs until it is told to stop. `run` may raise ConfigError and Unreachable, before any job ran."""

    def __init__(self, role: Role, pidfile: Path | None = None) -> None:
        self._role = role
        self._worker = role.worker
        self._pidfile = PidFile(pidfile)
        self._clock = SystemClock()
        self._nursery = Nursery()
        self._children: list[Child] = []
        self._orphans: list[Orphan] = []
        self._signals: deque[int] = deque()
        self._remote: deque[tuple[str, str]] = deque()
        self._selector = selectors.DefaultSelector()
        self._store: Store | None = None
        self._services: list[Service] = []
        self._heartbeat: Heartbeat | None = None
        self._recovery: Recovery | None = None
        self._state = "running"
        self._kill_at: float | None = None
        self._starts: list[float] = []  # when to start replacements
        self._early = 0
        self._quarantine: QuarantineWatch | None = None
        self._nurse_at = 0.0
        self._witness = Witness()
        self._http: HttpServer | None = None
        if self._worker.http:
            self._open_pages(self._worker.http)

    def _open_pages(self, address: str) -> None:
        # Without --http nobody pays for what they need: 2 MiB.
        from reliq.server.pages import open_pages  # noqa: PLC0415

        health = Health(self._worker.live, lambda: list(self._children), lambda: self._state)
        self._witness, self._http = open_pages(
            address, self._role.version, health, lambda: list(self._children), lambda: list(self._services)
        )

    def run(self) -> None:
        """Start the children and look after them."""
        wake_r, wake_w = os.pipe()
        os.set_blocking(wake_r, False)
        os.set_blocking(wake_w, False)
        self._wake_w = wake_w
        before = signal.set_wakeup_fd(wake_w)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTSTP, signal.SIGTTIN):
            signal.signal(number, lambda number, _: self._signals.append(number))
        self._selector.register(wake_r, selectors.EVENT_READ)
        try:
            # After the handlers: who finds the file may send a signal at once.
            self._pidfile.take()
            if self._http is not None:
                self._http.start()
                _log.info("probes and metrics at http://%s", self._http.address)
            self._starts = [0.0] * self._worker.processes
            while not self._over():
                self._pass(wake_r)
        finally:
            signal.set_wakeup_fd(before)
            self._end()

    def _over(self) -> bool:
        return not self._children and not self._starts and not self._orphans

    def _pass(self, wake_r: int) -> None:
        now = time.monotonic()
        for due in [due for due in self._starts if due <= now]:
            self._starts.remove(due)
            self._start(self._role)
        self._selector.select(self._pause(now))
        with contextlib.suppress(BlockingIOError):
            os.read(wake_r, 4096)
        for child in list(self._children):
            for message in child.hear():
                self._heard(child, *message)
        for child in [child for child in self._children if child.has_ended]:
            self._ended(child)
        while self._signals:
            self._signalled(self._signals.popleft())
        while self._remote:
            self._signalled_remotely(*self._remote.popleft())
        self._recover()
        self._kill_late(time.monotonic())
        self._mind_quarantine()
        self._pidfile.write(Status(os.getpid(), self._said(), sum(child.board.held for child in self._children)))

    def _said(self) -> str:
        """The state as others may rely on it: quiet only when every process has confirmed it."""
        if self._state == "quiet" and not all(child.quiet for child in self._children):
            return "running"
        return self._state

    def _pause(self, now: float) -> float:
        if self._state != "running" or self._orphans:
            return 0.05  # somebody waits for our state, or for jobs
        return max(0.0, min([LOOK, *(due - now for due in self._starts)]))

    # -- children

    def _start(self, role: Role) -> None:
        try:
            child = self._nursery.start(role)
        except (OSError, EOFError) as error:
            pause = self._longer_pause()
            _log.error("cannot start a process (%s); again in %g s", error, pause)
            if not role.quarantine:
                self._starts.append(time.monotonic() + pause)
            return
        self._children.append(child)
        self._witness.started()
        self._selector.register(child.pipe, selectors.EVENT_READ)
        self._selector.register(child.death, selectors.EVENT_READ)
        if self._state == "quiet":
            child.tell("quiet")

    def _heard(self, child: Child, word: str, *more: object) -> None:
        match word, *more:
            case "app", Config() as config, int(jobs):
                self._open(config, jobs)
            case "ready", int(epoch), Entry() as entry:
                child.epoch, child.entry, child.unreachable = epoch, entry, None
                if self._heartbeat is not None:
                    weights = {queue.name: queue.weight or 0 for queue in self._worker.queues}
                    self._heartbeat.add(
                        Patient(entry, epoch, child.board, weights, self._worker.order, quiet=self._state != "running")
                    )
            case "unreachable", str(text):
                child.unreachable = text
                if self._worker.exit_on_unreachable and child.entry is None:
                    self._give_up()
                    raise Unreachable(text)
            case "failed", str(text):
                child.failure = text
            case "stuck", int(jobs):
                _log.error(
                    "process %d: %d jobs did not stop in time; killing it and handing them back", child.pid, jobs
                )
                child.kill()
            case ("quiet",):
                child.quiet = True
            case ("left",):
                child.left, child.left_at = True, time.monotonic()

    def _ended(self, child: Child) -> None:
        while messages := child.hear():
            for message in messages:
                self._heard(child, *message)
        self._witness.dying(child)
        self._children.remove(child)
        self._selector.unregister(child.pipe)
        self._selector.unregister(child.death)
        cause = child.bury()
        if child.failure is not None and (self._store is None or not any(c.entry for c in self._children)):
            self._give_up()
            raise ConfigError(child.failure)
        entry = child.entry
        if not child.left:
            self._witness.crashed(cause)
        if entry is None or child.left:
            self._witness.buried(child, lambda: 0)  # nothing of it is under way
        if entry is not None and self._heartbeat is not None:
            counter = self._heartbeat.drop(entry.identity)
            if not child.left:
                _log.warning("process %d %s", entry.pid, cause, extra={"dead": entry.identity, "cause": cause})
                entry = attrs.evolve(entry, stopping=entry.stopping or child.told_to_stop)
                cause = f"the worker process {cause}"
                self._orphans.append(Orphan(child, entry, counter, child.board.started(), cause))
                self._recover()
        if not child.told_to_stop and not child.role.quarantine and self._state != "stopping":
            self._replace(child, cause)

    def _replace(self, child: Child, cause: str) -> None:
        now = time.monotonic()
        if child.entry is not None:
            # It had begun to work. What its jobs may do is bounded by the crash budget; this only bounds the pace.
            self._early, pause = 0, (BREATH if now - child.began < 1.0 else 0.0)
        else:
            pause = self._longer_pause()
            _log.error("a process did not start (%s): the next one in %g s", child.failure or cause, pause)
        self._starts.append(now + pause)

    def _longer_pause(self) -> float:
        self._early += 1
        # The exponent is bounded: a float overflows after some hours of starts that fail.
        return min(LONGEST_PAUSE, BREATH * 2.0 ** min(self._early, 10))

    def _recover(self) -> None:
        """Get the jobs of dead children back; what fails now is tried again with the next pass."""
        if self._recovery is None:
            return
        try:
            while self._orphans:
                orphan = self._orphans[0]
                reaped = self._recovery.child_died(orphan.entry, orphan.counter, orphan.started, orphan.cause)
                seconds, identity = time.monotonic() - orphan.since, orphan.entry.identity
                self._witness.recovered("child", reaped, seconds)
                self._witness.buried(orphan.child, partial(self._recovery.processes.last_turn, identity))
                self._orphans.pop(0)
                if reaped.quarantined and self._quarantine is not None:
                    self._quarantine.waiting = True  # known already: no need to wait for its next look
        except StoreError as error:
            _log.debug("recovery waits: %s", error)
            if isinstance(error, Refused):
                self._orphans.append(self._orphans.pop(0))  # it may be this one alone: let the others pass
            if self._kill_at is not None and time.monotonic() > self._kill_at:
                _log.error("cannot reach Redis to hand back jobs: another pod's reaper will")
                self._orphans.clear()

    # -- the store, known once the first child has loaded the application

    def _open(self, config: Config, jobs: int) -> None:
        if self._store is not None:
            return
        self._store = store = Store(config)
        _log.info(
            "reliq %s: %d processes x %d threads, %d jobs registered, queues %s (%s), %s at %s",
            self._role.version,
            self._worker.processes,
            self._worker.concurrency,
            jobs,
            ", ".join(queue.name for queue in self._worker.queues),
            self._worker.order,
            "super_fetch" if self._worker.superfetch else "BRPOP",
            store.shown,
        )
        if not self._worker.superfetch:
            _log.warning("--no-superfetch: jobs that run when a process dies are lost")
        self._recovery = Recovery(store)
        self._heartbeat = Heartbeat(store, self._clock, self._remember)
        reaper = Reaper(store, self._clock, partial(self._witness.recovered, "pod"))
        self._services = [self._heartbeat, reaper, Promoter(store, self._clock)]
        if self._worker.superfetch:
            self._quarantine = QuarantineWatch(store, self._role.queues)
            self._services.append(self._quarantine)
        for service in self._services:
            service.quiet_in_outages = service is not self._heartbeat  # one line an outage is enough
            service.start()
        self._warn_of_eviction(self._recovery)

    def _warn_of_eviction(self, recovery: Recovery) -> None:
        try:
            policy = memory_policy(recovery.link)
        except StoreError:
            return  # said by whoever needs it; this is only a check
        if policy not in (None, "noeviction"):
            _log.error(
                "Redis runs with maxmemory-policy %s: when it is full it will drop jobs and heartbeats; set noeviction",
                policy,
            )

    def _remember(self, identity: str, name: str) -> None:
        self._remote.append((identity, name))
        os.write(self._wake_w, b"!")

    # -- being told

    def _signalled(self, number: int) -> None:
        if number == signal.SIGTSTP:
            self._quiet()
        elif number == signal.SIGTTIN:
            for child in self._children:
                child.kill(signal.SIGTTIN)
        elif self._state == "stopping":
            _log.warning("told to stop again: interrupting jobs now")
            self._stop(0.0)
        else:
            self._stop(self._worker.timeout)

    def _signalled_remotely(self, identity: str, name: str) -> None:
        for child in self._children:
            if child.entry is None or child.entry.identity != identity:
                continue
            if name in ("TSTP", "TERM") and self._heartbeat is not None:
                self._heartbeat.quiet(identity)
            if name == "TSTP":
                child.tell("quiet")
            elif name == "TERM":
                child.stop(self._worker.timeout)
            elif name == "TTIN":
                child.kill(signal.SIGTTIN)

    def _quiet(self) -> None:
        if self._state == "running":
            _log.info("quiet: no more jobs are claimed, %d go on", sum(child.board.busy for child in self._children))
            self._state = "quiet"
            for child in self._children:
                child.tell("quiet")
            if self._heartbeat is not None:
                self._heartbeat.quiet()

    def _stop(self, timeout: float) -> None:
        if self._state != "stopping":
            _log.info("stopping: jobs have %g s to finish", timeout)
        self._state = "stopping"
        self._starts.clear()
        kill_at = time.monotonic() + timeout + self._worker.grace + LATE
        self._kill_at = kill_at if self._kill_at is None else min(self._kill_at, kill_at)
        for child in self._children:
            child.stop(timeout)

    def _kill_late(self, now: float) -> None:
        late = self._kill_at is not None and now > self._kill_at
        for child in self._children:
            # One that has left holds nothing; what keeps it is a thread of the application that never ends.
            if late or (child.left and now - child.left_at > LATE):
                child.kill()

    def _mind_quarantine(self) -> None:
        """Run one process for jobs that may only run alone, as long as there are any."""
        if self._quarantine is None:
            return
        waiting = self._quarantine.waiting
        nurse = next((child for child in self._children if child.role.quarantine), None)
        now = time.monotonic()
        if waiting and nurse is None and self._state == "running" and now >= self._nurse_at:
            self._nurse_at = now + NURSE_EVERY
            _log.info("jobs wait in quarantine: starting a process that runs them one by one")
            self._start(attrs.evolve(self._role, quarantine=True))
        elif not waiting and nurse is not None and nurse.entry and nurse.board.held == 0:
            nurse.retire()

    # -- the end

    def _give_up(self) -> None:
        for child in self._children:
            child.kill()
        for child in self._children:
            child.bury()
        self._children.clear()

    def _end(self) -> None:
        for service in self._services:
            service.stop()
        for service in self._services:
            service.join()
        if self._recovery is not None:
            self._recovery.link.close()
        if self._store is not None:
            self._store.close()
            _log.info("stopped")
        self._selector.close()
        if self._http is not None:
            self._http.close()
        self._pidfile.release()
