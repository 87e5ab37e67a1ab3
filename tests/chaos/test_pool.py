"""Several programs at the same time: none is forgotten, none stays, and each is told of with what it said."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from chaos.mutants.catalogue import MUTANTS
from chaos.mutants.hunt import PLAYS_EACH, Play, plays
from chaos.pool import Done, Task, run_all


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


class TestTheHunt:
    def done(self, play: Play, output: str = "") -> Done:
        """As if it had been played."""
        return Done(play.task(1), 0, output, 1.0)

    def said(self, play: Play, findings: str, void: str = "[]") -> None:
        """Write its verdict."""
        (play.directory / "verdict.json").write_text(
            f'{{"findings": {findings}, "void": {void}, "first": ["it was so"]}}', encoding="utf-8"
        )

    @pytest.fixture
    def mutant(self, tmp_path: Path) -> Play:
        """The play of one, which `fences` has to find."""
        found = plays([one for one in MUTANTS if one.name == "no-fence"], tmp_path, controls=False)
        assert [play.wanted for play in found] == [("fences",)]
        return found[0]

    @pytest.fixture
    def control(self, tmp_path: Path) -> Play:
        """The play of an unbroken build."""
        found = plays(MUTANTS[:1], tmp_path)
        assert sorted(bool(play.wanted) for play in found) == [False, True]
        return next(play for play in found if not play.wanted)

    def test_one_that_the_right_check_finds_is_found(self, mutant: Play) -> None:
        self.said(mutant, '{"lost": 3, "fences": 1}')
        assert mutant.catch(self.done(mutant)).ok

    @pytest.mark.parametrize("findings", ["{}", '{"lost": 3}'])
    def test_one_that_only_others_find_is_not(self, mutant: Play, findings: str) -> None:
        self.said(mutant, findings)
        assert not mutant.catch(self.done(mutant)).ok

    def test_one_that_was_not_found_is_played_again_with_other_dice(self, mutant: Play) -> None:
        second = mutant.again()
        assert second is not None
        assert second.directory != mutant.directory
        assert "8" in second.task(7).words
        last = second
        for _ in range(PLAYS_EACH - 2):
            following = last.again()
            assert following is not None
            last = following
        assert last.again() is None

    def test_an_unbroken_one_is_not_played_again(self, control: Play) -> None:
        assert control.again() is None

    def test_one_without_a_verdict_is_not_found_and_says_why(self, mutant: Play, control: Play) -> None:
        for play in (mutant, control):
            catch = play.catch(self.done(play, "no such file"))
            assert not catch.ok
            assert catch.trouble == "no such file"

    def test_an_unbroken_one_has_to_be_clean_and_to_count(self, control: Play) -> None:
        self.said(control, "{}")
        assert control.catch(self.done(control)).ok
        self.said(control, '{"lost": 1}')
        assert not control.catch(self.done(control)).ok
        self.said(control, "{}", '["nothing was audited"]')
        assert not control.catch(self.done(control)).ok

    def test_it_is_played_with_its_own_build(self, mutant: Play, control: Play, tmp_path: Path) -> None:
        words = mutant.task(7).words
        assert words[-2:] == ("--mutant", "no-fence")
        assert str(tmp_path / "no-fence") in words
        assert "--mutant" not in control.task(7).words


def test_time_is_taken() -> None:
    began = time.monotonic()
    [done] = run_all([program("a", "")], 1)
    assert 0 < done.seconds <= time.monotonic() - began
