"""A container as the kernel sees it: a worker in a pid namespace of its own, and programs that are run in there.

With `shared`, process 1 is a pause program, as in a pod with `shareProcessNamespace`, and the worker is started in a
session of its own beside it. Without, the worker is process 1 itself.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from chaos.eventually import eventually
from chaos.servers import Server
from tests.support.fleet import APP, FAST, ROOT

PAUSE = """
import json, os, signal, subprocess, sys
worker = subprocess.Popen(json.loads(sys.argv[1]), start_new_session=True)
while True:
    try:
        if os.wait()[0] == worker.pid:
            os.killpg(worker.pid, signal.SIGKILL)  # as containerd ends a container whose main process has ended
    except ChildProcessError:
        signal.pause()
    except ProcessLookupError:
        pass
"""
UNSHARE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


def why_not() -> str:
    """Why this machine cannot have containers like these; empty if it can."""
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        return "unshare or nsenter is not installed (Debian: util-linux)"
    tried = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True, check=False)
    return tried.stderr.strip() and f"no pid namespace may be made here: {tried.stderr.strip()}"


class Container:
    """One `reliq worker` in a pid namespace. Made ready by `with`, and gone after it."""

    def __init__(
        self,
        server: Server,
        folder: Path,
        *,
        shared: bool = True,
        processes: int = 2,
        before: Iterable[str] = (),
    ) -> None:
        worker = [sys.executable, "-m", "reliq", "worker", "-A", APP, "--url", server.url, "-c", "2"]
        command = [*before, *worker, "--processes", str(processes), "--pidfile", str(folder / "worker.pid")]
        command = [sys.executable, "-ISc", PAUSE, json.dumps(command)] if shared else command
        self.processes = processes
        self._server = server
        self._log = folder / "worker.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*UNSHARE, *command],
                cwd=folder,
                env=self._environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _environment(self, folder: Path) -> dict[str, str]:
        settings = {f"RELIQ_{name.upper()}": str(value) for name, value in FAST.items()}
        return {
            **os.environ,
            **settings,
            "TMPDIR": str(folder),
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def __enter__(self) -> Self:
        def registered() -> bool:
            if self.ended():
                raise RuntimeError(f"the container ended:\n{self.log}")
            with self._server.client() as client:
                return bool(client.hlen("fleet") >= self.processes)

        try:
            eventually(registered, 15, "the workers of the container are registered")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End everything in it."""
        self._process.kill()  # and with it, by --kill-child, process 1 and so all others
        self._process.wait()

    @property
    def log(self) -> str:
        """What its processes have said."""
        return self._log.read_text(errors="replace")

    def ended(self) -> bool:
        """Whether its process 1 has ended."""
        return self._process.poll() is not None

    def run(self, words: Iterable[str]) -> subprocess.CompletedProcess[bytes]:
        """Run a program in it, as `kubectl exec` does: a session of its own, no parent inside."""
        (first,) = self._children()
        command = ["nsenter", "--target", str(first), "--pid", "--mount", "setsid", "--wait", *words]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False)

    def _children(self) -> list[int]:
        pid = self._process.pid
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def entries(self) -> list[dict[str, Any]]:
        """What its workers have written of themselves into the fleet: their own process ids, among other things."""
        with self._server.client() as client:
            return [json.loads(entry) for entry in client.hvals("fleet")]
