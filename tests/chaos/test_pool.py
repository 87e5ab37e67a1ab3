"""Several programs at the same time: none is forgotten, none stays, and each is told of with what it said."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from chaos.pool import Task, run_all


def program(name: str, code: str, longest: float = 20.0) -> Task:
    """A task in Python."""
    return Task(name, (sys.executable, "-c", code), longest)


def waits_for(name: str, place: Path) -> str:
    """Code that says its name by a file, and waits for all three to have done so."""
    return (
        "import pathlib, sys, time\n"
        f"place = pathlib.Path({str(place)!r}); (place / {name!r}).touch(); until = time.monotonic() + 15\n"
        "while len(list(place.iterdir())) < 3:\n"
        "    time.sleep(0.01)\n"
        "    if time.monotonic() > until: sys.exit('alone')\n"
    )


def test_so_many_run_at_the_same_time(tmp_path: Path) -> None:
    tasks = [program(name, waits_for(name, tmp_path)) for name in "abc"]
    assert [done.code for done in run_all(tasks, 3)] == [0, 0, 0]


def test_no_more_than_so_many_run_at_the_same_time(tmp_path: Path) -> None:
    code = (
        f"import pathlib, sys; one = pathlib.Path({str(tmp_path)!r}, 'one')\n"
        "one.touch(exist_ok=False); sys.stdin.read(); one.unlink()"
    )
    assert [done.code for done in run_all([program(name, code) for name in "abcd"], 1)] == [0] * 4


def test_more_may_be_added_meanwhile() -> None:
    todo = [program("a", "")]
    ended = []
    for done in run_all(todo, 2):
        ended.append(done.task.name)
        if len(ended) < 3:
            todo.append(program("a" * (len(ended) + 1), ""))
    assert ended == ["a", "aa", "aaa"]


def test_how_it_ended_and_what_it_said_is_told() -> None:
    [done] = run_all([program("a", "import sys; print('out', flush=True); sys.exit('much ' * 50_000)")], 2)
    assert (done.code, done.task.name) == (1, "a")
    assert done.output.split() == ["out"] + ["much"] * 50_000


def test_what_takes_too_long_is_told_to_stop() -> None:
    code = (
        "import signal, sys, threading\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit('in order'))\n"
        "print('begun', flush=True)\nthreading.Event().wait()"
    )
    [done] = run_all([program("a", code, 2.0)], 1)
    assert done.code is None
    assert done.output.split("\n")[:2] == ["begun", "in order"]


def test_what_does_not_listen_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chaos.pool.ENDING", 0.2)
    code = (
        "import signal, threading\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('deaf', flush=True)\nthreading.Event().wait()"
    )
    [done] = run_all([program("a", code, 2.0)], 1)
    assert (done.code, done.output) == (None, "deaf\n")


def test_nothing_runs_on_when_the_caller_stops(tmp_path: Path) -> None:
    flag = tmp_path / "ended"
    code = (
        "import pathlib, signal, sys, threading\n"
        "def end(*_):\n"
        f"    pathlib.Path({str(flag)!r}).touch(); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end); print('begun', flush=True)\n"
        f"pathlib.Path({str(tmp_path / 'begun')!r}).touch(); threading.Event().wait()"
    )
    quick = (
        f"import pathlib, time\nuntil = time.monotonic() + 15\n"
        f"while not pathlib.Path({str(tmp_path / 'begun')!r}).exists() and time.monotonic() < until: time.sleep(0.01)"
    )
    ended = run_all([program("long", code), program("quick", quick)], 2)
    assert next(ended).task.name == "quick"
    ended.close()  # type: ignore[attr-defined]
    assert flag.exists()


def test_time_is_taken() -> None:
    began = time.monotonic()
    [done] = run_all([program("a", "")], 1)
    assert 0 < done.seconds <= time.monotonic() - began
