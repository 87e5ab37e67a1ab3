"""Running `kubectl`, one call at a time, and saying in one line what went wrong."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Collection
from typing import Any

import attrs

TIMEOUT = 20.0
"""Seconds that one call may take, unless it says otherwise."""

LONGEST = 400
"""Characters of an error that are shown: the last ones say what it is."""

_NOISE = re.compile(r"[EWIF]\d{4} \d\d:\d\d:\d\d|Warning: ")
"""How lines begin that are no error: kubectl's own log repeats for each try what the last line says."""

_ADVICE = (
    (
        r"refused|no such host|i/o timeout|Unable to connect|no route to host|TLS handshake timeout",
        "see whether the cluster runs and `kubectl cluster-info` reaches it",
    ),
    (
        r"\(Forbidden\)|is forbidden",
        "use an account whose role allows it; `kubectl auth can-i --list` shows what this one may",
    ),
    (r"\(Unauthorized\)|must be logged in|provide credentials", "log in to the cluster again"),
    (r"deployments\.apps .* not found", "create it with `kubectl apply`, or name another"),
    (r"context was not found|no context exists|context .* does not exist", "see `kubectl config get-contexts`"),
    (r"exec: .?python3|python3: (command )?not found", "the image needs python3 on its PATH"),
)
_GONE = re.compile(
    r"\(NotFound\): pods|container not found|in a completed pod|does not have a host assigned"
    r"|in a stopped (container|state)|container that has stopped|not created or running"
    r"|CONTAINER_EXITED|no running task"
)


class KubectlError(Exception):
    """What kubectl could not do, why, and what to do about it: one line."""


class Gone(KubectlError):
    """The pod, or the container in it, is not there any more."""


class Cut(KubectlError):
    """The container ended while a program ran in it, and what that had said is lost."""


@attrs.frozen
class Answer:
    """What one call gave back."""

    code: int
    out: str
    err: str


class Background:
    """A call that goes on while others are made."""

    def __init__(self, command: list[str]) -> None:
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by poll and end
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._output, text=True
            )
        except OSError as error:
            self._output.close()
            raise _not_started(command[0], error) from None

    def poll(self) -> Answer | None:
        """Return how it ended, once; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        self._output.seek(0)
        answer = Answer(code, "", self._output.read())
        self._output.close()
        return answer

    def end(self) -> None:
        """End it if it runs."""
        self._process.kill()
        self._process.wait()
        self._output.close()


class Kubectl:
    """The program kubectl with the options that all calls share. Everything it does may raise KubectlError."""

    def __init__(
        self, *, program: str = "kubectl", context: str = "", namespace: str = "", timeout: float = TIMEOUT
    ) -> None:
        self._program = program
        self._timeout = timeout
        self._options = [
            *(("--context", context) if context else ()),
            *(("--namespace", namespace) if namespace else ()),
        ]

    def run(self, *words: str, codes: Collection[int] = (0,)) -> Answer:
        """Make a call and wait for its end; an exit code other than `codes` is an error."""
        command = self._command(words)
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=self._timeout, check=False
            )
        except subprocess.TimeoutExpired:
            raise KubectlError(
                f"kubectl {words[0]} did not end within {self._timeout:g} s: see whether `kubectl cluster-info` answers"
            ) from None
        except OSError as error:
            raise _not_started(self._program, error) from None
        answer = Answer(done.returncode, done.stdout, done.stderr)
        if answer.code not in codes:
            raise failed(words[0], answer)
        return answer

    def read(self, *words: str) -> dict[str, Any]:
        """Make a call with `-o json`, and return the object that it prints."""
        text = self.run(*words, "-o", "json").out
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise KubectlError(
                f"kubectl {words[0]} did not print a JSON object, but {text[:80]!r}: is it really kubectl?"
            )
        return value

    def allows(self, verb: str, resource: str, subresource: str = "") -> bool:
        """Whether this account may do something."""
        option = [f"--subresource={subresource}"] if subresource else []
        return self.run("auth", "can-i", verb, resource, *option, codes=(0, 1)).out.strip() == "yes"

    def start(self, *words: str) -> Background:
        """Make a call, and return while it goes on."""
        return Background(self._command(words))

    def _command(self, words: tuple[str, ...]) -> list[str]:
        return [self._program, *self._options, *words]


def failed(verb: str, answer: Answer) -> KubectlError:
    """Return the error for a call that ended badly."""
    lines = [line.strip() for line in answer.err.splitlines() if line.strip() and not _NOISE.match(line)]
    # Of a program in a container kubectl adds the exit code to what that said.
    said = [line for line in lines if not line.startswith("command terminated with exit code")] or lines
    text = " ".join(said)[-LONGEST:] or f"exit code {answer.code}, and no word about it"
    if _GONE.search(text):
        return Gone(f"kubectl {verb}: {text}")
    advice = next((advice for pattern, advice in _ADVICE if re.search(pattern, text)), "")
    return KubectlError(f"kubectl {verb}: {text}" + (f": {advice}" if advice else ""))


def _not_started(program: str, error: OSError) -> KubectlError:
    return KubectlError(f"cannot run {program!r} ({error.strerror}): install kubectl and put it on PATH")
