"""The image of deploy/Dockerfile: its steps run in a bare folder in place of a root file system, without a builder."""

import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import attrs
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from chaos.eventually import eventually
from chaos.servers import Server
from tests.contract.places import ROOT

pytestmark = pytest.mark.timeout(240)  # pip installs, up to three times
DEPLOY = ROOT / "deploy"
TOP = re.compile(r"(?<![\w./-])/(src|opt|app|tmp)\b")
"""Folders of the image that the steps name."""


def steps(path: Path) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile and what follows each. One line each: what is longer is not read here."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert not [line for line in lines if line.endswith("\\")], "this reader takes no continued lines"
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


@attrs.define
class Stage:
    """A stage under construction: a folder that stands for its root, and what its instructions have set."""

    root: Path
    workdir: str = "/"
    environment: dict[str, str] = attrs.Factory(dict)
    user: str = "root"
    entrypoint: list[str] = attrs.Factory(list)

    def inside(self, text: str) -> str:
        """The text with the image's folders below the root."""
        return TOP.sub(lambda match: f"{self.root}/{match[1]}", text)

    def path(self, name: str) -> Path:
        """A name in the image, as seen from the working directory."""
        return self.root / str(Path(self.workdir) / name).lstrip("/")

    def surroundings(self) -> dict[str, str]:
        """The environment of a step: the image's interpreter in front, and what pip needs on this machine."""
        bare = Path(sys.base_prefix) / "bin"
        kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "REQUESTS_"))}
        return {"HOME": str(Path.home()), "PATH": f"{bare}:/usr/bin:/bin", **kept, **self.environment}


def build(path: Path, root: Path) -> Stage:
    """Follow a Dockerfile; the last stage. Both stages use one folder, since what is installed knows its own path."""
    stage, built = Stage(root), False
    for word, rest in steps(path):
        if word == "FROM":
            built = " AS " not in rest
            stage = Stage(root)
        elif word == "WORKDIR":
            stage.workdir = rest
            stage.path(".").mkdir(parents=True, exist_ok=True)
        elif word == "COPY" and rest.startswith("--from="):
            _, source, target = rest.split()
            assert source == target, "what is installed knows its own path"
        elif word == "COPY":
            copy(rest.split(), stage)
        elif word == "RUN":
            run(stage, stage.inside(rest))
        elif word == "ENV":
            for name, value in (pair.split("=", 1) for pair in shlex.split(rest)):
                old = stage.surroundings()
                stage.environment[name] = stage.inside(value).replace("$PATH", old["PATH"])
        elif word == "USER":
            stage.user = rest
        elif word == "ENTRYPOINT":
            stage.entrypoint = json.loads(rest)
        else:
            assert word in ("ARG", "STOPSIGNAL"), word
    assert built
    shutil.rmtree(root / "src")  # the first stage is not part of the image
    return stage


def copy(words: list[str], stage: Stage) -> None:
    *sources, target = words
    for source in sources:
        there = ROOT / source
        if there.is_dir():
            shutil.copytree(there, stage.path(target), ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(there, stage.path(target) / there.name)


def run(stage: Stage, command: str) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=stage.path("."),
        env=stage.surroundings(),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def digests(folder: Path) -> dict[str, str]:
    """Every file below a folder, with the hash of what it holds."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """The image's file system and settings, made once."""
    return build(DEPLOY / "Dockerfile", tmp_path_factory.mktemp("image"))


def test_the_image_runs_as_nobody_and_starts_reliq_itself(image: Stage) -> None:
    assert image.user == "10001:10001"
    assert image.entrypoint == ["reliq"], "the first process: no shell keeps signals from it"
    assert image.workdir == "/app"
    size = sum(path.stat().st_size for path in image.root.rglob("*") if path.is_file())
    assert size < 40_000_000, "bytes on top of the base image"


def test_signals_reach_the_worker_which_writes_nothing_beside_it(image: Stage, server: Server, tmp_path: Path) -> None:
    shop = image.path("shop")
    shop.mkdir()
    shop.joinpath("jobs.py").write_text("from reliq import Reliq\n\napp = Reliq()\n", encoding="utf-8")
    before = digests(image.root)
    program = shutil.which(image.entrypoint[0], path=image.surroundings()["PATH"])
    assert program is not None
    assert Path(program).is_relative_to(image.root)
    log = tmp_path / "log"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [program, "worker", "--app=shop.jobs:app", f"--url={server.url}"],
            cwd=image.path("."),
            env={**image.surroundings(), "TMPDIR": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        with server.client() as client:
            eventually(lambda: client.scard("processes") == 1, 20, "the worker registers")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0, log.read_text(encoding="utf-8")
    finally:
        worker.kill()
        worker.wait()
    assert digests(image.root) == before


def has_engine() -> bool:
    """Whether images can be built here: the client alone is not enough."""
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=30).returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_engine_builds_it_and_runs_it_without_a_writable_root() -> None:
    if not has_engine():
        pytest.skip("no Docker engine runs here: the steps alone are tested")
    name = "reliq-test:image"
    build = ["docker", "build", "-q", "-f", str(DEPLOY / "Dockerfile"), "-t", name, str(ROOT)]
    subprocess.run(build, check=True, timeout=600)
    words = ["docker", "run", "--rm", "--read-only", "--cap-drop=ALL", name, "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.strip() == f"reliq, version {metadata.version('reliq')}", done.stderr


@pytest.mark.slow
def test_two_builds_give_the_same_files(tmp_path: Path) -> None:
    made = []
    for _ in range(2):
        root = tmp_path / "root"
        root.mkdir()
        made.append(digests(build(DEPLOY / "Dockerfile", root).root / "opt"))
        shutil.rmtree(root)
    assert made[0] == made[1]


def test_every_version_in_the_image_is_pinned() -> None:
    lines = (DEPLOY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    versions = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in pins}
    missing = [Requirement("reliq"), Requirement("hatchling")]
    seen: set[tuple[str, frozenset[str]]] = set()
    while missing:
        requirement = missing.pop()
        name = canonicalize_name(requirement.name)
        if name != "reliq":
            assert name in versions, f"{requirement} is in the image and not in deploy/constraints.txt"
            assert requirement.specifier.contains(versions[name]), f"{requirement} does not allow {versions[name]}"
        if (key := (name, frozenset(requirement.extras))) in seen:
            continue
        seen.add(key)
        for more in map(Requirement, metadata.requires(name) or ()):
            extras = requirement.extras or {""}
            if more.marker is None or any(more.marker.evaluate({"extra": extra}) for extra in extras):
                missing.append(more)


def test_the_application_s_image_builds_on_it() -> None:
    words = steps(DEPLOY / "shop.Dockerfile")
    version = metadata.version("reliq")
    assert words[0] == ("FROM", f"reliq:{version}")
    assert f"-t reliq:{version} ." in (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert [rest for word, rest in words if word == "USER"][-1] == "10001:10001"


def test_what_is_copied_is_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    sources: set[str] = set()
    for path in (DEPLOY / "Dockerfile", DEPLOY / "chaos" / "Dockerfile"):
        for word, rest in steps(path):
            if word == "COPY" and not rest.startswith("--from="):
                sources |= {source.rstrip("/").removesuffix("/*.whl") for source in rest.split()[:-1]}
    assert "*" in ignored
    assert sources == kept
