"""An application that cannot be loaded: the worker says why in one line, exits, and no job is touched."""

import sys
from pathlib import Path

import pytest

from chaos.servers import Server
from reliq.errors import ConfigError
from reliq.server.child import load
from tests.cli.conftest import JOBS, Start

CANNOT_LOAD = 2
"""The exit code."""

TWICE = """
from reliq import Reliq
app = Reliq()

@app.job
def quick(): pass

@app.job("quick")
def other(): pass
"""


@pytest.mark.parametrize(
    ("module", "app", "said"),
    [
        ("", "jobs.deeper:app", "-A jobs.deeper:app: cannot import jobs.deeper: ModuleNotFoundError"),
        ("", ":app", "-A ':app': write module:name, as in shop.jobs:app"),
        ("", "jobs:nothing", "-A jobs:nothing: jobs has no 'nothing'; write module:name"),
        ("", "jobs:quick", "-A jobs:quick: quick is a Job, not a Reliq application"),
        ("", "jobs:Reliq", "-A jobs:Reliq: Reliq is a type, not a Reliq application"),
        ("app = 7", "bad", "-A bad: app is a int, not a Reliq application"),
        ("def :", "bad:app", "-A bad:app: cannot import bad: SyntaxError: invalid syntax"),
        (
            "import missing_library",
            "bad:app",
            "cannot import bad: ModuleNotFoundError: No module named 'missing_library'",
        ),
        ("raise KeyboardInterrupt", "bad:app", "cannot import bad: KeyboardInterrupt"),
        ("raise ValueError('two\\nlines')", "bad:app", "cannot import bad: ValueError: two (bad.py:1)"),
        (JOBS + "\napp.job(queue='{mail}')(lambda: None)", "bad:app", "queue name '{mail}': braces are not allowed"),
        (JOBS + "\napp.job(retry=-1)(lambda: None)", "bad:app", "retry = -1; give True, False or a number of retries"),
        (JOBS + "\napp.job(timeout=0)(lambda: None)", "bad:app", "timeout = 0; give seconds above 0, or None"),
    ],
    ids=lambda value: value.splitlines()[-1][:40] if value else "no-module",
)
def test_what_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch, home: Path, module: str, app: str, said: str) -> None:
    (home / "bad.py").write_text(module, encoding="utf-8")
    monkeypatch.syspath_prepend(home)
    for name in ("bad", "jobs"):
        monkeypatch.setitem(sys.modules, name, sys)
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ConfigError) as refused:
        load(app)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("module", "app", "said"),
    [
        ("", "nowhere:app", "-A nowhere:app: cannot import nowhere: ModuleNotFoundError: No module named 'nowhere'"),
        ("1 / 0", "bad:app", "-A bad:app: cannot import bad: ZeroDivisionError: division by zero (bad.py:1)"),
        ("import sys\nsys.exit(0)", "bad:app", "cannot import bad: SystemExit: 0 (bad.py:2)"),
        (TWICE, "bad:app", "-A bad:app: job 'quick' is registered twice: bad.quick and bad.other"),
        (
            JOBS + "\napp = Reliq('http://127.0.0.1')",
            "bad:app",
            "start it with redis://, rediss://, unix:// or embedded:",
        ),
    ],
    ids=lambda value: value.splitlines()[-1][:40] if value else "no-module",
)
def test_the_worker_says_why_and_exits(start: Start, at_server: Server, module: str, app: str, said: str) -> None:
    with at_server.client() as client:
        client.lpush("queue:default", b'{"class":"quick","args":[],"jid":"0123456789abcdef01234567"}')
        before = client.lrange("queue:default", 0, -1)
        Path("bad.py").write_text(module, encoding="utf-8")
        program = start("worker", "-A", app, "--processes", "2")
        assert program.wait() == CANNOT_LOAD
        assert said in program.complaint()
        assert client.lrange("queue:default", 0, -1) == before
        assert client.keys("*") == [b"queue:default"]
    assert list(Path().glob("reliq-*/*.pid")) == []
