"""A sweep: which programs it runs, which of them it tries again, and what it makes of how they ended."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from chaos.mutants.catalogue import MUTANTS
from chaos.mutants.hunt import PLAYS_EACH, Play, plays
from chaos.pool import Done, Task
from chaos.sweep import Leg, Try, all_well, crash_points, hunt, random_runs
from chaos.verdict import VOID


def leg(*codes: int) -> Leg:
    """Tries of a program, with these exit codes."""
    judge = crash_points()[0].judge
    lines = [f"print('said {code}'); exit({code})" for code in codes]
    return [Try(Task("one", (sys.executable, "-c", line), 20.0), judge) for line in lines]


@pytest.mark.parametrize(
    ("codes", "said", "good"),
    [
        ((0,), [0], True),
        ((1,), [1], False),
        ((1, 0), [1], False),
        ((0, 1), [0], True),
        ((VOID, 0), [VOID, 0], True),
        ((VOID, VOID, 0, 1), [VOID, VOID, 0], True),
        ((VOID, VOID), [VOID, VOID], False),
        ((VOID, 1, 0), [VOID, 1], False),
    ],
)
def test_what_does_not_count_is_tried_again_and_nothing_else(
    codes: tuple[int, ...], said: list[int], good: bool
) -> None:
    output = io.StringIO()
    assert all_well([leg(*codes)], Console(file=output, width=120), 1) == good
    text = output.getvalue()
    assert [line for line in text.splitlines() if line.startswith("said")] == [f"said {code}" for code in said]
    assert text.splitlines()[-1] == ("all as it must be" if good else "NOT as it must be")


def test_one_that_did_not_go_well_is_not_made_good_by_another() -> None:
    other = [Try(Task("other", (sys.executable, "-c", ""), 20.0), crash_points()[0].judge)]
    for legs in ([leg(1), other], [other, leg(1)]):
        assert not all_well(legs, Console(file=io.StringIO()), 1)


def test_random_runs_are_everything_and_two_others_with_other_dice_each_time() -> None:
    legs = random_runs(7, 0.5)
    words = [[one.task.words for one in leg] for leg in legs]
    names = [tries[0][tries[0].index("run") + 1] for tries in words]
    assert len(set(names)) == 3
    assert names[0] == "everything"
    assert not {"poison", "gil"} & set(names)
    seeds = [line[line.index("--seed") + 1] for tries in words for line in tries]
    assert len(set(seeds)) == len(seeds) == 3 * PLAYS_EACH
    assert [one.task for leg in random_runs(7, 0.5) for one in leg] == [one.task for leg in legs for one in leg]


class TestTheHunt:
    def done(self, play: Play, output: str = "") -> Done:
        """As if it had been played."""
        return Done(play.task, 0, output, 1.0)

    def said(self, play: Play, findings: str, void: str = "[]") -> None:
        """Write its verdict."""
        (play.directory / "verdict.json").write_text(
            f'{{"findings": {findings}, "void": {void}, "first": ["it was so"]}}', encoding="utf-8"
        )

    @pytest.fixture
    def mutant(self, tmp_path: Path) -> Play:
        """The play of one, which `fences` has to find."""
        [tries] = plays([one for one in MUTANTS if one.name == "no-fence"], tmp_path, 7, controls=False)
        assert {play.wanted for play in tries} == {("fences",)}
        tries[0].directory.mkdir()
        return tries[0]

    @pytest.fixture
    def control(self, tmp_path: Path) -> Play:
        """The play of an unbroken build."""
        [control] = next(tries for tries in plays(MUTANTS[:1], tmp_path, 7) if not tries[0].wanted)
        control.directory.mkdir()
        return control

    def test_one_that_the_right_check_finds_is_found(self, mutant: Play) -> None:
        self.said(mutant, '{"lost": 3, "fences": 1}')
        assert mutant.catch(self.done(mutant)).ok

    @pytest.mark.parametrize("findings", ["{}", '{"lost": 3}'])
    def test_one_that_only_others_find_is_not(self, mutant: Play, findings: str) -> None:
        self.said(mutant, findings)
        assert not mutant.catch(self.done(mutant)).ok

    def test_one_that_was_not_found_is_played_again_with_other_dice(self, tmp_path: Path) -> None:
        [leg] = hunt(MUTANTS[:1], tmp_path, 7, controls=False)
        seeds = [one.task.words[one.task.words.index("--seed") + 1] for one in leg]
        assert seeds == [str(7 + time) for time in range(PLAYS_EACH)]
        places = {one.task.words[one.task.words.index("--directory") + 1] for one in leg}
        assert len(places) == PLAYS_EACH
        result = leg[0].judge(Done(leg[0].task, 1, "no such file", 1.0))
        assert (result.ok, result.again) == (False, True)
        assert result.lines[0].startswith("NOT FOUND")
        assert "no such file" in result.lines[-1]

    def test_one_that_was_found_is_not_played_again(self, mutant: Play, tmp_path: Path) -> None:
        self.said(mutant, '{"fences": 1}')
        [leg] = hunt([one for one in MUTANTS if one.name == "no-fence"], tmp_path, 7, controls=False)
        result = leg[0].judge(self.done(mutant))
        assert (result.ok, result.again) == (True, False)
        assert "fences (1)" in result.lines[0]

    def test_an_unbroken_one_is_not_played_again(self, tmp_path: Path) -> None:
        assert sorted(len(tries) for tries in plays(MUTANTS[:1], tmp_path, 7)) == [1, PLAYS_EACH]

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
        words = mutant.task.words
        assert words[-2:] == ("--mutant", "no-fence")
        assert str(tmp_path / "no-fence-0") in words
        assert "--mutant" not in control.task.words
