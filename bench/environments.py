"""Where the peers are installed: a virtual environment each, or Debian's packages."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

import attrs

from bench.versions import DEBIAN, PYTHON

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reliq-bench"
INSTALLING = 600.0
"""Seconds that one installation may take."""


class LeftOut(Exception):
    """The peer cannot be installed here; the message says why, in one line."""


@attrs.frozen
class Installed:
    """A peer that is there: its interpreter, the folder of its programs, and what it consists of."""

    program: Path
    version: str
    packages: tuple[str, ...] = ()

    def tool(self, name: str) -> str:
        """Return the path of a program that came with the peer."""
        return str(self.program.parent / name)


def here() -> Installed:
    """Return the environment of this very interpreter."""
    there = {f"{one.name}=={one.version}" for one in importlib.metadata.distributions()}
    return Installed(Path(sys.executable), "", tuple(sorted(there)))


def python(name: str, folder: Path, *, install: bool = True) -> Installed:
    """Return the virtual environment of a peer below `folder`; makes it first if need be. Raises LeftOut."""
    wanted = PYTHON[name]
    venv = folder / name
    program, stamp = venv / "bin" / "python", venv / "installed"
    version = wanted[0].partition("==")[2]
    if not (stamp.exists() and stamp.read_text(encoding="utf-8").splitlines()[: len(wanted)] == [*wanted]):
        if not install:
            raise LeftOut(f"{name} is left out: not installed in {folder}")
        shutil.rmtree(venv, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        _run([sys.executable, "-m", "venv", str(venv)], name)
        _run([str(program), "-m", "pip", "install", "-q", "--disable-pip-version-check", *wanted], name)
        stamp.write_text("\n".join([*wanted, *_freeze(program)]) + "\n", encoding="utf-8")
    return Installed(program, version, tuple(stamp.read_text(encoding="utf-8").splitlines()[len(wanted) :]))


def debian(name: str, *, install: bool = True) -> Installed:
    """Return Debian's packages of a peer; installs them if they are missing and this is root. Raises LeftOut."""
    packages = DEBIAN[name]
    if any(_debian_version(package) is None for package in packages):
        if not install:
            raise LeftOut(f"{name} is left out: {' '.join(packages)} not installed")
        if shutil.which("apt-get") is None:
            raise LeftOut(f"{name} is left out: it comes from Debian's {' '.join(packages)}, and this is not Debian")
        if os.geteuid() != 0:
            raise LeftOut(f"{name} is left out: run `apt-get install {' '.join(packages)}` as root, then again")
        _run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], name)
    found = [f"{package} {_debian_version(package)}" for package in packages]
    ruby = shutil.which("ruby")
    if ruby is None:
        raise LeftOut(f"{name} is left out: there is no ruby on PATH")
    version = (_debian_version(packages[-1]) or "").partition("+")[0].partition("-")[0]
    return Installed(Path(ruby), version, tuple(found))


def _debian_version(package: str) -> str | None:
    if shutil.which("dpkg-query") is None:
        return None
    asked = ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", package]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False)
    state, _, version = answer.stdout.partition(" ")
    return version if state == "installed" else None


def _freeze(program: Path) -> list[str]:
    asked = [str(program), "-m", "pip", "freeze", "--disable-pip-version-check", "--exclude-editable"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False)
    return answer.stdout.splitlines()


def _run(command: list[str], name: str) -> None:
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALLING,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise LeftOut(f"{name} is left out: `{command[0]}` took longer than {INSTALLING:g} s") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no word"]
        raise LeftOut(f"{name} is left out: it could not be installed: {lines[-1]}")
