"""The mutants fit the source; whether they are caught is for `python -m chaos mutants` to see."""

from pathlib import Path

import pytest

from chaos.mutants.build import build
from chaos.mutants.catalogue import MUTANTS, PLAYS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_fits_the_source(mutant: Mutant, tmp_path: Path) -> None:
    tree = build(mutant, tmp_path)
    assert mutant.scenario in PLAYS
    for edit in mutant.edits:
        text = (tree / edit.path).read_text()
        assert edit.new in text
        if edit.path.endswith(".py"):
            compile(text, edit.path, "exec")


def test_there_are_enough_of_them_and_each_play_is_used() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 12
    assert {mutant.scenario for mutant in MUTANTS} == set(PLAYS)
