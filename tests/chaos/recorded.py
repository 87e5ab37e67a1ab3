"""A recorded kubectl: a program that answers from tests/chaos/kubectl, and fails on what it does not know."""

import copy
import json
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chaos.pods.kubepod import SOURCE

FOLDER = Path(__file__).with_name("kubectl")
SELECTOR = "--selector=app.kubernetes.io/component=worker,app.kubernetes.io/name=reliq"
LIST = ("get", "pods", SELECTOR, "-o", "json")
DEPLOYMENT = ("get", "deployment/reliq-worker", "-o", "json")

PROGRAM = """#!{python} -IS
import fcntl, json, pathlib, sys, time
folder = pathlib.Path({folder!r})
inside = pathlib.Path({inside!r}).read_text()
words = ["$INSIDE" if word == inside else word for word in sys.argv[1:]]
with (folder / "log").open("a") as log:
    fcntl.flock(log, fcntl.LOCK_EX)  # a drain runs beside other calls
    log.write(json.dumps(words) + chr(10))
    everything = json.loads((folder / "answers").read_text())
    answers = [one for one in everything if one["argv"] == words]
    if not answers:
        sys.exit("recorded kubectl: nobody recorded " + json.dumps(words))
    answer = next((one for one in answers if not one.get("given")), answers[-1])
    answer["given"] = True
    (folder / "answers").write_text(json.dumps(everything))
sys.stdout.write(answer["out"])
sys.stderr.write(answer["err"])
sys.stdout.flush()
time.sleep(answer.get("seconds", 0))
sys.exit(answer["code"])
"""


class RecordedKubectl:
    """The program, in a folder of its own. Equal command lines are answered in their order; the last answer stays."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "kubectl"
        self._folder = folder
        self.path.write_text(PROGRAM.format(python=sys.executable, folder=str(folder), inside=str(SOURCE)))
        self.path.chmod(self.path.stat().st_mode | stat.S_IXUSR)
        (folder / "answers").write_text("[]")

    def knows(self, *names: str) -> None:
        """Take over recorded exchanges."""
        recorded = {one["name"]: one for one in json.loads((FOLDER / "exchanges.json").read_text())}
        self._add(*(recorded[name] for name in names))

    def says(self, argv: Sequence[str], out: str = "", *, err: str = "", code: int = 0, seconds: float = 0.0) -> None:
        """Add an answer."""
        self._add({"argv": list(argv), "out": out, "err": err, "code": code, "seconds": seconds})

    def lists(self, *pods: dict[str, Any]) -> None:
        """Add an answer to the question for the pods."""
        self.says(LIST, json.dumps({**objects()["list"], "items": pods}))

    def finds(self, deployment: dict[str, Any] | None = None) -> None:
        """Add an answer to the question for the Deployment."""
        self.says(DEPLOYMENT, json.dumps(deployment or objects()["deployment"]))

    def allows_all(self) -> None:
        """Say yes to each `can-i`."""
        recorded = [one["name"] for one in json.loads((FOLDER / "exchanges.json").read_text())]
        self.knows(*(name for name in recorded if name.startswith("can-i") and "not" not in name))

    @property
    def calls(self) -> list[list[str]]:
        """The command lines so far."""
        log = self._folder / "log"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def unknown(self) -> list[list[str]]:
        """The command lines that nobody had recorded."""
        known = [answer["argv"] for answer in self.answers]
        return [call for call in self.calls if call not in known]

    @property
    def answers(self) -> list[dict[str, Any]]:
        """All that it can say."""
        found: list[dict[str, Any]] = json.loads((self._folder / "answers").read_text())
        return found

    def _add(self, *answers: dict[str, Any]) -> None:
        (self._folder / "answers").write_text(json.dumps([*self.answers, *answers]))


def objects() -> dict[str, Any]:
    """A Deployment, the envelope of a list, and pods by their state."""
    found: dict[str, Any] = json.loads((FOLDER / "objects.json").read_text())
    return found


def pod(kind: str, /, **changes: Any) -> dict[str, Any]:
    """A pod in this state. `changes` go into its container's status, or with `metadata` and `status` there."""
    found: dict[str, Any] = copy.deepcopy(objects()["pods"][kind])
    found["metadata"] |= changes.pop("metadata", {})
    found["status"] |= changes.pop("status", {})
    if changes:
        found["status"]["containerStatuses"][0] |= changes
    return found
