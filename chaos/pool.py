"""Several programs at the same time, and what each of them said."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import IO

import attrs

LOOK = 0.1
"""Seconds between two looks at who has ended."""

ENDING = 10.0
"""Seconds from SIGTERM to SIGKILL."""


@attrs.frozen
class Task:
    """A program to run. `longest` is how many seconds it may take."""

    name: str
    words: tuple[str, ...]
    longest: float


@attrs.frozen
class Done:
    """How a program ended. `code` is None if it took too long and was ended."""

    task: Task
    code: int | None
    output: str
    seconds: float


@attrs.define
class _Running:
    task: Task
    process: subprocess.Popen[bytes]
    output: IO[bytes]
    began: float

    @classmethod
    def start(cls, task: Task) -> _Running:
        output = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the program's end
        process = subprocess.Popen(task.words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        return cls(task, process, output, time.monotonic())

    def over(self) -> bool:
        return self.process.poll() is not None or time.monotonic() - self.began > self.task.longest

    def end(self) -> Done:
        code = self.process.poll()
        if code is None:
            self.process.terminate()
            try:
                self.process.wait(ENDING)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        seconds = time.monotonic() - self.began
        with self.output:
            self.output.seek(0)
            return Done(self.task, code, self.output.read().decode(errors="replace"), seconds)


def run_all(todo: list[Task], at_once: int) -> Iterator[Done]:
    """Run them all, `at_once` at the same time; give each when it has ended. Nothing runs on if the caller stops.

    `todo` is used up; the caller may add to it as long as something is given.
    """
    running: list[_Running] = []
    try:
        while todo or running:
            while todo and len(running) < at_once:
                running.append(_Running.start(todo.pop(0)))
            for one in [one for one in running if one.over()]:
                running.remove(one)
                yield one.end()
            time.sleep(LOOK)
    finally:
        for one in running:
            one.end()
