"""Old pods run an old tree."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

import reliq
from chaos import revisions
from chaos.cli import cli

Git = Callable[..., None]


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    """A repository of its own, with one commit, taken for this one."""
    root = tmp_path / "repository"
    for name in ("reliq", "lua", "chaos"):
        (root / name).mkdir(parents=True)
        (root / name / "file").write_text("first")
    own = ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost", "-c", "tag.gpgsign=false"]

    def call(*words: str) -> None:
        subprocess.run(["git", "-C", str(root), *own, *words], check=True, capture_output=True)

    call("init")
    call("add", ".")
    call("commit", "--message", "first")
    monkeypatch.setattr(revisions, "ROOT", root)
    return call


def test_a_tree_is_reliq_alone_as_it_was(git: Git, tmp_path: Path) -> None:
    (tmp_path / "repository" / "reliq" / "file").write_text("second")
    git("commit", "--all", "--message", "second")
    tree = revisions.tree("HEAD~1", tmp_path / "old")
    assert {str(path.relative_to(tree)): path.read_text() for path in tree.rglob("file")} == {
        "reliq/file": "first",
        "lua/file": "first",
    }


def test_the_last_tag_is_the_newest_that_came_before(git: Git) -> None:
    assert revisions.last_tag() == ""
    git("tag", "v1")
    git("commit", "--allow-empty", "--message", "second")
    git("tag", "v2")
    git("commit", "--allow-empty", "--message", "third")
    assert revisions.last_tag() == "v2"
    git("checkout", "HEAD~2")
    assert revisions.last_tag() == "v1"


@pytest.mark.usefixtures("git")
def test_a_revision_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    words = ["run", "rolling", "--old", "v9", "--directory", str(tmp_path / "run")]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 1
    assert done.output.splitlines()[-1].startswith("Error: there is no tree of v9: ")


def test_where_there_is_no_repository_it_is_the_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revisions, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert revisions.current() == reliq.__version__
    assert revisions.last_tag() == ""
