"""What users install carries the scripts, whether it was built from the tree or from the sdist."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.contract.places import ROOT, SCRIPTS

TREE = ("reliq", "lua", "pyproject.toml", "README.md", "LICENSE")


def build(source: Path, kind: str, into: Path) -> Path:
    """Build an sdist or a wheel without a network, and return the file."""
    command = [sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", str(into), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = into.iterdir()
    return built


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the wheel is made of."""
    copy = tmp_path_factory.mktemp("tree")
    for name in TREE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)
    return copy


def check_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        expected = {f"reliq/lua/{path.name}": path.read_bytes() for path in SCRIPTS.glob("*.lua")}
        assert {name for name in names if name.endswith(".lua")} == set(expected)
        for name, content in expected.items():
            assert archive.read(name) == content
    assert {"reliq/__init__.py", "reliq/py.typed", "reliq/store/scripts.py"} <= names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"reliq"}


@pytest.mark.slow
def test_a_wheel_from_the_tree_has_the_scripts(tree: Path, tmp_path: Path) -> None:
    check_wheel(build(tree, "wheel", tmp_path))


@pytest.mark.slow
def test_a_wheel_from_the_sdist_has_the_scripts(tree: Path, tmp_path: Path) -> None:
    sdist = build(tree, "sdist", tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (source,) = (tmp_path / "unpacked").iterdir()
    check_wheel(build(source, "wheel", tmp_path / "wheel"))
