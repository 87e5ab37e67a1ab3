"""What runs inside a container: it finds the worker's processes, and strikes those it was told to."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chaos.eventually import eventually
from chaos.pods import inside
from chaos.pods.inside import UNTOUCHABLE, Process, look
from chaos.pods.kubepod import SOURCE
from chaos.servers import Server
from tests.chaos.container import UNSHARE, Container, why_not

REASON = why_not()
needs_namespaces = pytest.mark.skipif(bool(REASON), reason=REASON)

INIT = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
"""An init like tini: its command line holds the worker's."""

STATES = """
import json, pathlib, sys
for pid in json.loads(sys.argv[1]):
    try:
        print(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0])
    except OSError:
        print("gone")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A place for a container's files."""
    return tmp_path


def tell(container: Container, *words: str) -> dict[str, Any]:
    """What the program says when it is run in the container. Fails if it fails."""
    done = container.run([sys.executable, "-c", SOURCE.read_text(), *words])
    assert done.returncode == 0, done.stderr.decode()
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def states(container: Container, pids: list[int]) -> set[str]:
    """The states of processes in the container, as `S` or `T`, or `gone`."""
    done = container.run([sys.executable, "-c", STATES, json.dumps(pids)])
    assert done.returncode == 0, done.stderr.decode()
    return set(done.stdout.decode().split())


@needs_namespaces
@pytest.mark.parametrize("shared", [True, False])
def test_it_sees_the_processes_of_the_worker_by_the_ids_that_they_report(
    server: Server, folder: Path, shared: bool
) -> None:
    with Container(server, folder, shared=shared) as container:
        seen = tell(container, "look")
        assert seen["children"] == sorted(entry["pid"] for entry in container.entries())
        assert seen["main"] == (2 if shared else 1)
        assert {seen["main"], *seen["children"]} < set(seen["members"])
        assert len(seen["members"]) == 5, "supervisor, fork server, its resource tracker, two workers"
        assert seen["hit"] == []


@needs_namespaces
def test_it_kills_one_worker_process_and_no_other(server: Server, folder: Path) -> None:
    with Container(server, folder) as container:
        before = tell(container, "look")
        hit = tell(container, "kill-child", "5")["hit"]
        assert hit == [before["children"][5 % 2]]
        after = tell(container, "look")
        assert set(before["members"]) - set(hit) <= set(after["members"])
        assert not set(hit) & set(after["members"])


@needs_namespaces
def test_it_kills_the_main_process_and_the_container_ends_with_it(server: Server, folder: Path) -> None:
    with Container(server, folder) as container:
        before = tell(container, "look")
        assert tell(container, "kill-main")["hit"] == before["members"]
        eventually(lambda: states(container, before["members"]) <= {"Z", "gone"}, why="nothing of the worker lives")


@needs_namespaces
def test_it_kills_all_at_one_moment(server: Server, folder: Path) -> None:
    with Container(server, folder) as container:
        before = tell(container, "look")
        assert tell(container, "kill-all")["hit"] == before["members"]
        assert states(container, before["members"]) <= {"Z", "gone"}, "dead on return"
        assert "was killed" not in container.log, "the supervisor must not have seen its children die"


@needs_namespaces
def test_it_freezes_and_thaws_everything(server: Server, folder: Path) -> None:
    with Container(server, folder) as container:
        members = tell(container, "look")["members"]
        assert tell(container, "freeze")["hit"] == members
        assert states(container, members) == {"T"}
        assert tell(container, "thaw")["hit"] == members
        assert not states(container, members) & {"T", "gone"}


@needs_namespaces
@pytest.mark.parametrize("verb", ["kill-main", "kill-all", "freeze"])
def test_process_1_cannot_be_struck_from_inside_and_it_says_so(server: Server, folder: Path, verb: str) -> None:
    with Container(server, folder, shared=False, processes=1) as container:
        before = tell(container, "look")
        done = container.run([sys.executable, "-c", SOURCE.read_text(), verb])
        assert done.returncode == 1
        assert done.stderr.decode().strip() == UNTOUCHABLE
        assert tell(container, "look") == before
        assert not states(container, before["members"]) & {"T", "gone"}


@needs_namespaces
def test_the_kernel_drops_a_kill_of_process_1_from_inside(server: Server, folder: Path) -> None:
    """The reason for all this: it would report success, and nothing happens."""
    with Container(server, folder, shared=False, processes=1) as container:
        for name in ("SIGKILL", "SIGSTOP"):
            done = container.run([sys.executable, "-c", f"import os, signal; os.kill(1, signal.{name})"])
            assert done.returncode == 0
        assert states(container, [1]) == {"S"}
        assert not container.ended()
        assert tell(container, "kill-child")["hit"], "its children can be killed all the same"


@needs_namespaces
def test_below_an_init_the_worker_is_a_process_like_any_other(server: Server, folder: Path) -> None:
    before = [sys.executable, "-c", INIT]
    with Container(server, folder, shared=False, processes=1, before=before) as container:
        assert tell(container, "look")["main"] == 2
        # The end of the init may take this program with it, so only what it said before counts.
        done = container.run([sys.executable, "-c", SOURCE.read_text(), "kill-main"])
        assert 2 in json.loads(done.stdout)["hit"]
        eventually(container.ended, why="the init ends, and the container with it")


@needs_namespaces
def test_without_a_worker_it_says_so() -> None:
    done = subprocess.run(
        [*UNSHARE, sys.executable, "-c", SOURCE.read_text(), "look"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "0 processes run `reliq worker` here, and it takes exactly one\n"


# -- who belongs to whom, on process tables that are hard to bring about

SERVER = ["python", "-c", "from multiprocessing.forkserver import main; main(5, 6)"]
USUAL = {
    1: Process(0, 1, ["/pause"]),
    7: Process(1, 7, ["/usr/local/bin/python3.11", "/usr/local/bin/reliq", "worker", "-c", "8"]),
    14: Process(7, 7, ["python", "-c", "from multiprocessing.resource_tracker import main; main(4)"]),
    15: Process(7, 7, SERVER),
    16: Process(15, 7, SERVER),
    17: Process(15, 7, SERVER),
    30: Process(0, 30, ["sh", "-c", "reliq status --json | grep -q x"]),
    31: Process(30, 30, ["/usr/local/bin/python3.11", "/usr/local/bin/reliq", "status", "--json"]),
    40: Process(0, 40, ["/usr/local/bin/python3.11", "/usr/local/bin/reliq", "quiet", "--wait", "20"]),
}


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[int, Process]], None]:
    """Sets what processes there are, besides the usual ones and this program itself."""

    def put(changes: dict[int, Process]) -> None:
        everybody = {**USUAL, **changes, os.getpid(): Process(0, os.getpid(), ["python3", "-c", SOURCE.read_text()])}
        monkeypatch.setattr(inside, "processes", lambda: {k: v for k, v in everybody.items() if v.command})

    return put


GONE = Process(0, 0, [])
Table = Callable[[dict[int, Process]], None]


def test_probes_and_hooks_are_none_of_the_worker(table: Table) -> None:
    table({})
    assert look() == (7, [7, 14, 15, 16, 17], [16, 17])


def test_what_a_job_starts_belongs_to_it_and_is_no_worker(table: Table) -> None:
    program = Process(16, 7, ["convert", "a.png", "b.jpg"])
    daemon = Process(16, 21, ["imported", "multiprocessing"])
    table({20: program, 21: daemon, 22: Process(17, 7, SERVER)})
    assert look() == (7, [7, 14, 15, 16, 17, 20, 21, 22], [16, 17])


def test_workers_whose_fork_server_died_are_still_workers(table: Table) -> None:
    table({15: GONE, 16: Process(1, 7, SERVER), 17: Process(1, 7, SERVER), 18: Process(7, 7, SERVER)})
    assert look() == (7, [7, 14, 16, 17, 18], [16, 17])


def test_a_worker_that_runs_as_a_module_is_found(table: Table) -> None:
    table({7: Process(1, 7, ["python", "-X", "dev", "-m", "reliq", "worker"])})
    assert look().main == 7


@pytest.mark.parametrize(
    ("others", "count"),
    [({7: GONE}, 0), ({50: Process(0, 50, ["python", "-m", "reliq", "worker"])}, 2)],
    ids=["none", "two"],
)
def test_it_takes_exactly_one_worker(table: Table, others: dict[int, Process], count: int) -> None:
    table(others)
    with pytest.raises(SystemExit, match=f"{count} processes run `reliq worker` here"):
        look()
