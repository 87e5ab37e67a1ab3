"""`reliq demo`: passes with super_fetch, fails with BRPOP, explains every further run, and leaves nothing behind."""

import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from chaos.eventually import eventually
from reliq.cli.demo.ledger import Kill, Ledger, Run
from reliq.cli.demo.proof import Proof, examine
from reliq.inspect import QueueView, StatusView

POD, OTHER = 100, 200
KILL_PROCESS = Kill(10.0, 10.1, "a process", POD, 101)
KILL_POD = Kill(20.0, 20.1, "a pod", OTHER, None)
EMPTY = QueueView(name="default", size=0, latency=None, paused=False, held=0, orphaned=0, quarantined=0)


@pytest.fixture
def place() -> Iterator[Path]:
    """The folder for temporary files of a demo; it must be empty again afterwards. Short, as sockets need it."""
    folder = Path(tempfile.mkdtemp(prefix="reliq-", dir="/tmp"))
    try:
        yield folder
        assert not list(folder.iterdir())
    finally:
        shutil.rmtree(folder)


def start(place: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "reliq", "demo", *options],
        env={"TMPDIR": str(place), "PATH": "", "RELIQ_URL": "redis://nowhere.invalid/", "COLUMNS": "80"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def play(place: Path, *options: str) -> tuple[int, str]:
    """Exit code and output."""
    with start(place, *options) as process:
        output, _ = process.communicate(timeout=55)
    return process.returncode, output


def cell(output: str, row: str) -> int:
    """The number in a row of the table of sums."""
    found = re.search(rf"^ *{row} +([\d,]+) ", output, re.MULTILINE)
    assert found, output
    return int(found[1].replace(",", ""))


@pytest.mark.slow
def test_every_job_survives_the_kills(place: Path) -> None:
    code, output = play(place, "--jobs", "150", "--seed", "7")
    assert code == 0, output
    assert cell(output, "files") == cell(output, "jobs done") == 150
    assert cell(output, "jobs recovered") >= cell(output, "jobs run twice") >= 2
    assert cell(output, "unexplained") == cell(output, "left in Redis") == cell(output, "lost") == 0
    assert re.search(r"^worker process \d+ of pod \d +[1-4] +[1-4] +0 +\d", output, re.MULTILINE), output
    assert re.search(r"^pod \d \(5 processes\) +[1-8] +[1-8] +0 +\d", output, re.MULTILINE), output
    assert "\nPASS  Nothing is lost" in output
    assert "\x1b" not in output
    assert "\r" not in output


@pytest.mark.slow
def test_without_superfetch_it_fails(place: Path) -> None:
    code, output = play(place, "--jobs", "150", "--seed", "7", "--no-superfetch")
    assert code == 1, output
    assert cell(output, "lost") >= 2
    assert cell(output, "jobs done") == 150 - cell(output, "lost")
    assert cell(output, "jobs recovered") == 0
    assert f"\nFAIL  {cell(output, 'lost')} jobs lost" in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing_behind(place: Path, number: signal.Signals) -> None:
    with start(place) as process:
        eventually(lambda: list(place.glob("*/pod-2.pid")), within=20)
        process.send_signal(number)
        output, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    assert output.endswith("reliq: interrupted\n")


@pytest.mark.slow
def test_the_deadline_ends_it(place: Path) -> None:
    code, output = play(place, "--deadline", "6")
    assert code == 1, output
    assert "\nFAIL  the deadline passed" in output
    assert cell(output, "lost") == 0
    assert cell(output, "jobs done") + cell(output, "left in Redis") == cell(output, "files")


@pytest.mark.slow
def test_kept_the_folder_has_the_ledger(place: Path) -> None:
    code, output = play(place, "--jobs", "1", "--keep")
    folder = next(place.iterdir())
    assert f"kept: {folder} " in output
    with Ledger(folder / "ledger.sqlite") as ledger:
        assert len(ledger.runs()) == len(ledger.results()) == 1
    shutil.rmtree(folder)
    # One job is no proof: the run must not say that kills were survived.
    assert code == 1, output
    assert "\nFAIL  the jobs came to an end before all kills were done" in output


# -- the proof: what it must not let through


def run(number: int, file: str, started: float, ended: float | None, *, pid: int = 101, pod: int = POD) -> Run:
    return Run(number, file, "jid", f"host:{pid}:0", pid, pod, 1, 0, started, ended, None if ended is None else False)


def proof(given: list[Run], **changes: Any) -> Proof:
    """A proof of two files; a kill cut each of them off, and both ran again."""
    good = Proof(
        files=["a", "b"],
        results={"a": 1, "b": 1},
        runs=given,
        kills=[KILL_PROCESS, KILL_POD],
        kills_wanted=2,
        status=StatusView(processed=2, failed=0, scheduled=0, retries=0, dead=0, queues=[EMPTY], processes=[]),
        seconds=1.0,
        late=False,
    )
    return attrs.evolve(good, **changes)


GOOD = [
    run(1, "a", 9.0, None),
    run(2, "a", 10.5, 11.0, pid=102),
    run(3, "b", 19.0, None, pid=202, pod=OTHER),
    run(4, "b", 22.5, 23.0, pid=102),
]


def test_further_runs_are_linked_to_their_kills() -> None:
    effects, again = examine(GOOD, [KILL_PROCESS, KILL_POD])
    assert [(one.run.id, one.kill, one.after) for one in again] == [(2, KILL_PROCESS, 0.5), (4, KILL_POD, 2.5)]
    assert [(len(effect.cut), effect.outstanding, effect.times) for effect in effects] == [
        (1, 0, (0.5, 0.5)),
        (1, 0, (2.5, 2.5)),
    ]
    assert not proof(GOOD).problems()


def test_a_kill_before_the_acknowledgement_explains_a_further_run() -> None:
    runs = [run(1, "a", 9.0, 9.99), run(2, "a", 10.2, 10.4, pid=102)]
    _, again = examine(runs, [KILL_PROCESS])
    assert [one.kill for one in again] == [KILL_PROCESS]


@pytest.mark.parametrize(
    ("why", "runs"),
    [
        ("nobody was killed", [run(1, "a", 1.0, 2.0), run(2, "a", 2.5, 3.0)]),
        ("another process was killed", [run(1, "a", 9.0, None, pid=102), run(2, "a", 10.5, 11.0)]),
        ("it was acknowledged long before the kill", [run(1, "a", 1.0, 2.0), run(2, "a", 10.5, 11.0, pid=102)]),
        ("it ran at the same time, before the kill", [run(1, "a", 9.0, None), run(2, "a", 9.5, 11.0, pid=102)]),
        ("it started after the kill", [run(1, "a", 12.0, None), run(2, "a", 12.5, 13.0, pid=102)]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_no_kill_explains(why: str, runs: list[Run]) -> None:
    _, again = examine(runs, [KILL_PROCESS])
    assert [one.kill for one in again] == [None]
    assert "1 further run that no kill explains" in proof([*runs, *GOOD[2:]]).problems()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"late": True}, "the deadline passed"),
        ({"results": {"a": 1}}, "1 job lost"),
        ({"kills": [KILL_PROCESS]}, "the jobs came to an end before all kills"),
        ({"runs": GOOD[1:]}, "a kill that hit no running job"),
        ({"status": attrs.evolve(proof(GOOD).status, dead=1)}, "1 job left in Redis, 1 of them dead"),
        ({"status": attrs.evolve(proof(GOOD).status, retries=1)}, "1 job left in Redis"),
        ({"status": attrs.evolve(proof(GOOD).status, queues=[attrs.evolve(EMPTY, orphaned=1)])}, "1 job left in Redis"),
        ({"status": attrs.evolve(proof(GOOD).status, processed=3)}, "Redis counted 3 runs that ended"),
    ],
)
def test_what_is_no_proof(changes: dict[str, Any], problem: str) -> None:
    assert any(problem in found for found in proof(GOOD, **changes).problems())
