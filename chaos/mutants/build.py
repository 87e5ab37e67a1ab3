"""Builds a mutant: a copy of the tree with its edits."""

from __future__ import annotations

import shutil
from pathlib import Path

from chaos.mutants.catalogue import Mutant
from chaos.pods.local import ROOT


class StaleMutant(Exception):
    """The source has changed, and an edit does not fit any more: the mutant must be written anew."""


def build(mutant: Mutant, directory: Path) -> Path:
    """Copy what a pod needs of the tree, apply the edits, and return the copy. Raises StaleMutant."""
    tree = directory / "tree"
    for name in ("reliq", "lua", "chaos"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for edit in mutant.edits:
        path = tree / edit.path
        text = path.read_text(encoding="utf-8")
        if text.count(edit.old) != 1:
            raise StaleMutant(
                f"mutant {mutant.name}: {edit.path} holds {edit.old!r} {text.count(edit.old)} times, not once"
            )
        path.write_text(text.replace(edit.old, edit.new), encoding="utf-8")
    return tree
