"""What the tests of the command line share: a directory of a user's own, and `reliq` run in it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import attrs
import pytest

from chaos.eventually import eventually
from chaos.servers import Server
from reliq.cli import main
from tests.support.fleet import FAST

JOBS = """
from reliq import Reliq

app = Reliq()

@app.job
def quick(key=None):
    pass
"""


@attrs.frozen
class Answer:
    """What a command answered. `code` is its exit code."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line on standard error that a mistake ends in."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("reliq: "), self.err
        assert self.out == ""
        return lines[0].removeprefix("reliq: ")


Reliq = Callable[..., Answer]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of a test that runs commands: empty but for jobs.py. Pid files go into it too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "jobs.py").write_text(JOBS, encoding="utf-8")
    return tmp_path


@pytest.fixture
def reliq(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Reliq:
    """Run a command inside this process, as the program `reliq` does."""

    def run(*words: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["reliq", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as leave:
            main()
        captured = capsys.readouterr()
        code = leave.value.code
        assert isinstance(code, int)
        return Answer(code, captured.out, captured.err)

    return run


@pytest.fixture
def at_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """RELIQ_URL names the shared server."""
    monkeypatch.setenv("RELIQ_URL", server.url)
    return server


class Program:
    """A `reliq` command in a process of its own."""

    def __init__(self, home: Path, words: tuple[str, ...], environment: Mapping[str, str]) -> None:
        self._log = home / f"{len(list(home.glob('*.log')))}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "reliq", *words],
                cwd=home,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        """All it has said."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def says(self, text: str, within: float = 15.0) -> None:
        """Wait until it has said this."""

        def said() -> bool:
            assert text in self.log, self.log
            return True

        eventually(said, within, f"it says {text!r}")

    def wait(self, within: float = 15.0) -> int:
        """Wait for its end; the exit code."""
        return self.process.wait(within)

    def stop(self) -> int:
        """TERM, and wait; the exit code."""
        self.process.terminate()
        return self.wait()

    def complaint(self) -> str:
        """The last line of what it said, if that is a mistake's line and nothing before it is a traceback."""
        assert "Traceback" not in self.log, self.log
        last = self.log.splitlines()[-1]
        assert last.startswith("reliq: "), self.log
        return last.removeprefix("reliq: ")


Start = Callable[..., Program]


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    """Start a command in a process of its own, with the fastest settings; what still runs at the end is killed."""
    begun: list[Program] = []

    def run(*words: str, environment: Mapping[str, str] | None = None) -> Program:
        fast = {f"RELIQ_{name.upper()}": str(value) for name, value in FAST.items()}
        there = {**os.environ, **fast, "PYTHONDONTWRITEBYTECODE": "1", **(environment or {})}
        begun.append(Program(home, words, there))
        return begun[-1]

    yield run
    for program in begun:
        sys.stdout.write(program.log)
        if program.process.poll() is None:
            os.killpg(program.process.pid, signal.SIGKILL)
            program.process.wait()
