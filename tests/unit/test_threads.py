"""reliq.server.executor.threads: a line of runs, and threads that take from it."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from chaos.eventually import eventually
from reliq import Reliq
from reliq.job import encode
from reliq.outcome import DONE
from reliq.server.executor.run import Run
from reliq.server.executor.threads import Threads
from reliq.store.claims import Claim
from reliq.store.probe import Probe


class Crew:
    """Threads, the jobs that they run, and what became of these."""

    def __init__(self, concurrency: int) -> None:
        self.ran: Counter[int] = Counter()
        self.by: set[str] = set()
        self.gate = threading.Event()
        self.open = True
        self.woken = 0
        self.ended_at_wake = 0
        app = Reliq("redis://127.0.0.1:1")

        @app.job
        def work(number: int) -> None:
            self.ran[number] += 1
            self.by.add(threading.current_thread().name)

        @app.job
        def wait(number: int) -> None:
            self.ran[number] += 1
            assert self.gate.wait(20)

        self.threads = Threads(
            concurrency,
            app.handlers,
            cast(Probe, None),
            record=lambda _: None,
            may_start=lambda: self.open,
            wake=self._wake,
        )

    def _wake(self) -> None:
        self.woken += 1
        self.ended_at_wake = len(self.threads._done)

    def runs(self, *names: str, expected: float = 1e-6, first: int = 0) -> list[Run]:
        """Runs of these jobs, numbered; since their number, and expected to take so long."""
        found = []
        for number, name in enumerate(names, first):
            payload = encode(name, [number], {}, jid=f"{number:024}", queue="default", retry=True, now=1.0)
            run = Run(Claim(payload, 0, "web:1:0123456789ab"), "default", float(number))
            run.expected = expected
            found.append(run)
        return found

    def until(self, condition: Callable[[], object]) -> None:
        """Go on as the loop does, until it holds."""

        def step() -> object:
            self.threads.nudge(time.monotonic())
            return condition()

        eventually(step, 10)


@pytest.fixture
def crew() -> Iterator[Callable[[int], Crew]]:
    """Makes crews, which end with the test."""
    made: list[Crew] = []

    def make(concurrency: int) -> Crew:
        made.append(Crew(concurrency))
        return made[-1]

    yield make
    for one in made:
        one.open = True
        one.gate.set()
        assert one.threads.stop(10)


Make = Callable[[int], Crew]


def numbers(runs: list[Run]) -> list[int]:
    """What tells these runs apart."""
    return [cast(Any, run.job).args[0] for run in runs]


def test_every_run_is_run_once_and_collected_once(crew: Make) -> None:
    some = crew(4)
    runs = some.runs(*["work"] * 3000)
    some.threads.push(runs)
    ended: list[Run] = []

    def collect() -> bool:
        ended.extend(run for run, ending in some.threads.collect() if ending.outcome is DONE)
        return len(ended) == 3000

    some.until(collect)
    assert some.ran == Counter(range(3000))
    assert sorted(numbers(ended)) == list(range(3000))
    assert (some.threads.held, some.threads.waiting, some.threads.busy) == (0, 0, 0)
    assert some.woken > 0


def test_quick_runs_share_a_thread_and_slow_ones_do_not(crew: Make) -> None:
    some = crew(4)
    some.threads.push(some.runs(*["work"] * 100))
    eventually(lambda: len(some.threads.collect()) or some.ran.total() == 100)
    assert len(some.by) == 1
    some.threads.push(some.runs(*["wait"] * 4, expected=1.0, first=100))
    eventually(lambda: some.ran.total() == 104, why="all four run at once")
    assert some.threads.free == 0
    assert some.threads.full


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 7, 50])
def test_nobody_waits_to_hear_of_the_last_end(crew: Make, number: int) -> None:
    some = crew(2)
    some.threads.push(some.runs(*["work"] * number))
    eventually(lambda: some.ended_at_wake == number, why="the loop was woken when all had ended")


def test_a_quick_run_that_is_slow_does_not_keep_the_others(crew: Make) -> None:
    some = crew(3)
    some.threads.push(some.runs("wait", *["work"] * 50))
    some.until(lambda: some.ran.total() == 51)
    assert not some.threads.full


def test_nothing_begins_while_it_may_not(crew: Make) -> None:
    some = crew(3)
    some.open = False
    some.threads.push(some.runs(*["work"] * 5))
    eventually(lambda: len(some.threads._resting) > 0, why="a thread has looked, and rests again")
    assert some.threads.waiting == 5
    some.open = True
    some.until(lambda: some.ran.total() == 5)


def test_what_nobody_has_begun_can_be_taken_back(crew: Make) -> None:
    some = crew(1)
    some.threads.push(some.runs("wait", *["work"] * 9))
    eventually(lambda: some.ran[0] == 1)
    assert numbers(some.threads.take_back(4.0)) == [1, 2, 3], "those that are older"
    assert numbers(some.threads.take_back()) == [4, 5, 6, 7, 8, 9]
    assert (some.threads.held, some.threads.busy) == (1, 1)
    some.gate.set()
    eventually(lambda: [run.claim for run, _ in some.threads.collect()])
    assert some.ran == Counter([0])


def test_taken_back_or_run_but_never_both(crew: Make) -> None:
    some = crew(3)
    back: list[Run] = []
    ended: list[Run] = []
    for round_ in range(200):
        some.threads.push(some.runs(*["work"] * 20, first=20 * round_))
        back += some.threads.take_back()
        ended += [run for run, _ in some.threads.collect()]
    some.until(lambda: some.threads.waiting == 0 and not ended.extend(run for run, _ in some.threads.collect()))  # type: ignore[func-returns-value]
    some.until(lambda: some.threads.held == 0 or ended.extend(run for run, _ in some.threads.collect()))  # type: ignore[func-returns-value]
    assert sorted(numbers(back) + numbers(ended)) == list(range(4000))
    assert some.ran == Counter(numbers(ended))


def test_who_is_due_soon(crew: Make) -> None:
    some = crew(2)
    some.threads.push(some.runs("wait", expected=0.3) + some.runs("wait", expected=3.0, first=1))
    eventually(lambda: some.ran.total() == 2)
    now = time.monotonic()
    assert some.threads.due(now, 0.001) == 0
    assert some.threads.due(now, 1.0) == 1
    assert some.threads.due(now, 5.0) == 2
    assert some.threads.due(now + 10, 1.0) == 0, "whoever takes longer than expected may take any time"


def test_a_system_without_threads_to_give(crew: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are there take the runs, and no more are claimed than for them."""
    some = crew(5)
    some.threads.push(some.runs("work"))
    eventually(lambda: some.ran.total() == 1)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    some.threads.push(some.runs(*["work"] * 3, expected=1.0, first=1))
    some.until(lambda: some.ran.total() == 4)
    assert some.threads.concurrency == 1
    some.until(lambda: len(some.threads.collect()) or some.threads.held == 0)
    assert some.threads.free == 1
