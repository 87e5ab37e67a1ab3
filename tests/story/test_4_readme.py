"""The README's code, run as it is written. Without a checkout, the text is that of the installed package."""

import ast
import asyncio
import datetime
import importlib.metadata
import inspect
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

import pytest

import reliq
from chaos.eventually import eventually
from chaos.servers import Server
from reliq import Reliq


def readme() -> str:
    """The README's text."""
    file = Path(__file__).parents[2] / "README.md"
    if file.exists():
        return file.read_text(encoding="utf-8")
    text = importlib.metadata.distribution("reliq").read_text("METADATA")
    assert text
    return text.partition("\n\n")[2]


def blocks(language: str, section: str) -> list[str]:
    """The code blocks of one language in one section."""
    text = readme().split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


class Home:
    """A new user's directory, with nothing in it but what the README says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = path / "log"
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("RELIQ_")}
        scripts = str(Path(sys.executable).parent)
        self.environment |= {"PATH": f"{scripts}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1", "TMPDIR": str(path)}

    def start(self, line: str) -> "subprocess.Popen[bytes]":
        """Start one line of a shell session, without its comment; what it says goes to the log."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                shlex.split(line, comments=True), cwd=self.path, env=self.environment, stdout=log, stderr=log
            )

    def said(self, text: str) -> bool:
        """Whether any of them has said this."""
        return text in self.log.read_text(encoding="utf-8")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A new user's directory."""
    one = Home(tmp_path)
    yield one
    sys.stdout.write(one.log.read_text(encoding="utf-8"))


def test_the_first_minute(home: Home) -> None:
    """jobs.py is ten lines of code; one command enqueues, one works, Ctrl-C stops it in order."""
    (program,) = blocks("python", "One minute")
    (home.path / "jobs.py").write_text(program, encoding="utf-8")
    enqueue, work = next(block for block in blocks("sh", "One minute") if "reliq worker" in block).splitlines()
    assert home.start(enqueue).wait(20) == 0
    worker = home.start(work)
    try:
        eventually(lambda: home.said("welcome, user 42 (rich)"), 20, "the job runs")
    finally:
        worker.send_signal(signal.SIGINT)
    assert worker.wait(10) == 0
    assert not home.said("Traceback")
    assert (home.path / ".reliq").is_dir()


def test_the_two_commands_are_those_of_the_makefile() -> None:
    """`make demo` and `make test`, in a checkout."""
    makefile = Path(__file__).parents[2] / "Makefile"
    if makefile.exists():
        targets = set(re.findall(r"^(\w+):", makefile.read_text(encoding="utf-8"), re.MULTILINE))
        assert set(re.findall(r"\bmake (\w+)", readme())) <= targets


def test_the_api(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line of the API block runs; its jobs are in Redis afterwards."""
    (program,) = blocks("python", "The API")
    program, replaced = re.subn(r'Reliq\("redis://[^"]+"', f'Reliq("{server.url}"', program)
    assert replaced == 1
    names = {"when": datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)}
    code: CodeType = compile(program, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert code.co_flags & inspect.CO_COROUTINE

    async def run() -> None:
        await eval(code, names)  # noqa: S307 - our own README

    try:
        asyncio.run(run())
        with server.client() as client:
            waiting = {key: client.llen(key) for key in client.scan_iter(match="shop:queue:*")}
            assert waiting == {b"shop:queue:default": 7, b"shop:queue:critical": 1, b"shop:queue:mailers": 1}
            assert client.zcard("shop:schedule") == 4
    finally:
        app = names["app"]
        assert isinstance(app, Reliq)
        app.close()


def test_the_promised_names_exist() -> None:
    """What the README calls by a public name can be imported."""
    for name in ("ReliqError", "BadArguments", "Refused", "Unreachable", "JobTimeout", "JobInterrupted"):
        assert f"`{name}`" in readme() or f"`reliq.{name}`" in readme()
        assert name in reliq.__all__


@pytest.mark.parametrize(
    "line", re.findall(r"^(reliq \w+(?: (?:pause|resume))?)", blocks("", "The command line")[0], re.MULTILINE)
)
def test_the_commands_exist(line: str, home: Home) -> None:
    """Each one at least explains itself."""
    assert home.start(f"{line} --help").wait(20) == 0
    options = set(
        re.findall(r"(?<=[\[ ])--?[a-z][a-z-]*", next(row for row in readme().splitlines() if row.startswith(line)))
    )
    assert all(home.said(option) for option in options), options
