"""Revisions of this repository: which one it is, and trees of earlier ones for pods that run old code."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import reliq
from chaos.pods.local import ROOT


class RevisionError(Exception):
    """There is no such revision here."""


def current() -> str:
    """Return the name of what is checked out; the version of reliq where there is no repository."""
    try:
        return _git("describe", "--always", "--dirty").decode().strip()
    except RevisionError:
        return reliq.__version__


def last_tag() -> str:
    """Return the newest tag that the checked-out commit comes after; empty if there is none."""
    try:
        return _git("describe", "--tags", "--abbrev=0", "HEAD").decode().strip()
    except RevisionError:
        return ""


def tree(revision: str, directory: Path) -> Path:
    """Write reliq as it was at the revision into the directory, and return that. Raises RevisionError.

    Only reliq: the application of the jobs is of today, as it has to speak to the collector of today.
    """
    packed = _git("archive", "--format=tar", revision, "reliq", "lua")
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(directory, filter="data")
    return directory


def _git(*words: str) -> bytes:
    try:
        return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, check=True).stdout
    except FileNotFoundError:
        raise RevisionError("git is not installed") from None
    except subprocess.CalledProcessError as error:
        raise RevisionError(error.stderr.decode(errors="replace").strip().splitlines()[-1]) from None
