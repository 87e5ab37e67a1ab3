"""The collector: takes what jobs say, refuses old fences, forgets what the dead ran."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chaos.collector import Collector
from chaos.ledger import Ledger
from chaos.records import Run, now


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite") as one:
        yield one


@pytest.fixture
def collector(ledger: Ledger, tmp_path: Path) -> Iterator[Collector]:
    one = Collector(ledger, tmp_path / "s")
    one.start()
    yield one
    one.close()


class Job:
    """What a job says, over a connection of its own."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))

    def say(self, **line: Any) -> None:
        self.socket.sendall(json.dumps(line).encode() + b"\n")

    def start(self, run: str, token: int = 1, pid: int = 7) -> None:
        self.say(
            what="start",
            run=run,
            token=token,
            jid="j",
            attempt=1,
            identity="i",
            pid=pid,
            digest="d",
            at=now(),
            code="new",
        )


@pytest.fixture
def job(collector: Collector, tmp_path: Path) -> Iterator[Job]:
    one = Job(tmp_path / "s")
    yield one
    one.socket.close()


def test_what_a_job_says_is_in_the_ledger(collector: Collector, job: Job, ledger: Ledger) -> None:
    heard: list[tuple[str, Run]] = []
    collector.listeners.append(lambda what, run: heard.append((what, run)))
    job.start("a")
    job.say(what="fence", run="a", fence=5, at=now())
    job.say(what="effect", run="a", token=1, fence=5, at=now())
    collector.settle()
    assert [run.run for run in collector.open_runs()] == ["a"]
    job.say(what="end", run="a", outcome="done", at=now())
    collector.settle()
    assert collector.open_runs() == []
    [run] = ledger.runs()
    assert (run.token, run.fence, run.outcome, run.pid) == (1, 5, "done", 7)
    assert [effect.accepted for effect in ledger.effects()] == [True]
    assert collector.done() == 1
    assert [what for what, _ in heard] == ["start", "fence", "effect", "end"]


def test_a_smaller_fence_than_the_last_is_refused(collector: Collector, job: Job, ledger: Ledger) -> None:
    for run, fence in (("a", 5), ("b", 9), ("a", 5), ("b", 9)):
        if fence not in {effect.fence for effect in ledger.effects()}:
            job.start(run)
        job.say(what="effect", run=run, token=1, fence=fence, at=now())
        collector.settle()
    assert [effect.accepted for effect in ledger.effects()] == [True, True, False, True]
    assert [effect.number for effect in ledger.effects()] == [1, 2, 3, 4]


def test_a_line_that_was_sent_before_the_end_counts(collector: Collector, tmp_path: Path, ledger: Ledger) -> None:
    one = Job(tmp_path / "s")
    for number in range(200):
        one.start(f"r{number}", token=number)
    one.socket.close()
    collector.settle()
    assert len(ledger.runs()) == 200


def test_half_a_line_waits_for_the_other_half(collector: Collector, job: Job, ledger: Ledger) -> None:
    job.start("a")
    job.socket.sendall(b'{"what":"end","run":"a","outcome":"do')
    collector.settle()
    assert ledger.runs()[0].outcome is None
    job.socket.sendall(b'ne","at":1.5}\n')
    collector.settle()
    assert ledger.runs()[0].outcome == "done"


def test_the_dead_run_nothing(collector: Collector, job: Job) -> None:
    job.start("a", pid=7)
    job.start("b", token=2, pid=8)
    collector.settle()
    collector.processes_ended([7])
    assert [run.run for run in collector.open_runs()] == ["b"]


def test_the_later_word_of_an_end_counts(collector: Collector, job: Job, ledger: Ledger) -> None:
    job.start("a")
    job.say(what="end", run="a", outcome="done", at=now())
    job.say(what="end", run="a", outcome="interrupted", at=now())
    collector.settle()
    assert ledger.runs()[0].outcome == "interrupted"


def test_jobs_that_were_sent_by_jobs_are_known(collector: Collector, job: Job, ledger: Ledger) -> None:
    sent = {"token": 9, "name": "quick", "queue": "q", "via": "job", "kind": "quick", "digest": "d", "expected": "done"}
    job.say(what="sent", **sent, sent_at=1.0)
    collector.settle()
    assert ledger.sent()[0].answer is None
    job.say(what="sent", **sent, sent_at=1.0, known_at=2.0, answer="acked", jid="j")
    collector.settle()
    assert ledger.sent()[0].answer == "acked"
    assert collector.children[9].jid == "j"
