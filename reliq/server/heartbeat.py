"""Heartbeat: beats for worker processes, from outside of them.

Its own thread, process and connection: a job that holds the interpreter of its process for minutes must not look
dead, and nothing slow may share the way with a beat.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

import attrs

from reliq.clock import Clock
from reliq.server.board import Board
from reliq.server.service import Service
from reliq.server.view import process_fields
from reliq.store.claims import Condemned
from reliq.store.opening import Store
from reliq.store.processes import Entry, Processes

SHOW_EVERY = 5.0
"""Seconds between two words to Sidekiq's view, which itself expects one every 10."""


@attrs.define
class Patient:
    """One identity that is beaten for."""

    entry: Entry
    epoch: int
    board: Board
    weights: dict[str, int]
    mode: str = "strict"
    quiet: bool = False
    counter: str = ""
    shown_at: float = float("-inf")


class Heartbeat(Service):
    """Beats for every identity it was given, once per `beat` seconds.

    `on_signal` gets (identity, name) of a signal that Sidekiq's view left for a process.
    """

    name = "heartbeat"

    def __init__(self, store: Store, clock: Clock, on_signal: Callable[[str, str], None]) -> None:
        # Never far apart, also after a failure: a short break of the connection must not grow into missed beats.
        super().__init__(min(store.config.longest_backoff, store.config.beat / 2))
        self._config = store.config
        self._clock = clock
        self._on_signal = on_signal
        self._link = store.link("heartbeat")
        self._processes = Processes(store, self._link)
        self._patients: dict[str, Patient] = {}
        self._ticking = threading.Lock()  # held through a tick: `drop` waits for the beat under way
        self._changing = threading.Lock()

    def add(self, patient: Patient) -> None:
        """Beat for this identity from now on."""
        with self._changing:
            self._patients[patient.entry.identity] = patient

    def drop(self, identity: str) -> str:
        """Beat no more; when this returns no beat is under way. Returns the last confirmed counter, or ''."""
        with self._changing:
            patient = self._patients.pop(identity, None)
        with self._ticking:
            return patient.counter if patient else ""

    def quiet(self, identity: str | None = None) -> None:
        """Show one process, or all, as quiet."""
        with self._changing:
            for patient in self._patients.values():
                if identity in (None, patient.entry.identity):
                    patient.quiet, patient.shown_at = True, float("-inf")

    def tick(self) -> float:
        """Beat for all; a failed connection ends the round, and the next one begins soon."""
        began = self._clock.mono()
        with self._ticking:
            with self._changing:
                patients = list(self._patients.values())
            for patient in patients:
                self._beat(patient)
            for patient in patients:
                if began - patient.shown_at >= SHOW_EVERY:
                    self._show(patient)
                    patient.shown_at = began
        return max(0.0, self._config.beat - (self._clock.mono() - began))

    def close(self) -> None:
        """Close the connection."""
        self._link.close()

    def _beat(self, patient: Patient) -> None:
        if patient.entry.identity not in self._patients:
            return
        sent = self._clock.boot()
        try:
            patient.counter = self._processes.beat(patient.entry.identity)
        except Condemned:
            patient.board.fence(patient.epoch)
            with self._changing:
                self._patients.pop(patient.entry.identity, None)
        else:
            patient.board.stand(patient.epoch, sent)

    def _show(self, patient: Patient) -> None:
        entry = patient.entry
        if entry.identity not in self._patients:
            return
        began = time.perf_counter()
        self._link.call("PING")
        rtt_us = round((time.perf_counter() - began) * 1e6)
        fields = process_fields(
            entry,
            mode=patient.mode,
            weights=patient.weights,
            busy=patient.board.busy,
            now=self._clock.wall(),
            rtt_us=rtt_us,
            quiet=patient.quiet,
        )
        signal = self._processes.show(entry.identity, fields)
        if signal is not None:
            self._on_signal(entry.identity, signal)


def beat_for(patient: Patient, store: Store, clock: Clock) -> Heartbeat:
    """Return a heartbeat for this one alone, which has started."""
    heart = Heartbeat(store, clock, lambda *_: None)
    heart.add(patient)
    heart.start()
    return heart


def hostname() -> str:
    """Return the machine's name as identities carry it: the pod's name on Kubernetes."""
    return socket.gethostname()
