"""reliq.server.logs: lines as text and as JSON, and the job that a line belongs to."""

import asyncio
import contextvars
import io
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import reliq
from reliq.attempt import Attempt, current
from reliq.server.logs import FORMAT, Console, Json, Origin


class Running:
    """A run of which only the attempt is known."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    def attempt(self) -> Attempt:
        return self._attempt


ATTEMPT = Attempt("6bbe072f06ef1ba3b0525844", "SendMail", "mail", 3, identity="web:7:0123456789ab", asked=None)  # type: ignore[arg-type]
IN_JOB = {
    "identity": "web:7:0123456789ab",
    "jid": "6bbe072f06ef1ba3b0525844",
    "job": "SendMail",
    "queue": "mail",
    "attempt": 3,
}


class Log:
    """A logger of its own, and what it wrote."""

    def __init__(self, formatter: logging.Formatter) -> None:
        self.origin = Origin()
        self.logger = logging.Logger("shop.mail")  # noqa: LOG001 - none of the interpreter's, so no other test sees it
        self._out = io.StringIO()
        handler = logging.StreamHandler(self._out)
        handler.setFormatter(formatter)
        handler.addFilter(self.origin)
        self.logger.addHandler(handler)

    @property
    def text(self) -> str:
        """All that was written."""
        return self._out.getvalue()

    @property
    def last(self) -> dict[str, Any]:
        """The last line, which must be JSON, of ASCII, without line breaks in it."""
        assert self.text.endswith("\n")
        line = self.text.split("\n")[-2]
        assert line.isascii()

        def no_constant(name: str) -> Any:
            raise AssertionError(f"{name} is no JSON")

        found: dict[str, Any] = json.loads(line, parse_constant=no_constant)
        return found


@pytest.fixture
def as_json() -> Log:
    """Written as JSON."""
    return Log(Json())


@pytest.fixture
def as_text() -> Log:
    """Written as text."""
    return Log(Console(FORMAT))


@pytest.fixture
def in_job() -> Iterator[None]:
    """The test runs inside a job."""
    token = current.set(Running(ATTEMPT))
    yield
    current.reset(token)


def test_a_line_outside_of_jobs(as_json: Log, as_text: Log) -> None:
    for log in (as_json, as_text):
        log.logger.warning("sent to %d addresses", 3)
    assert as_json.last.keys() == {"ts", "level", "logger", "msg", "pid"}
    assert as_json.last["msg"] == "sent to 3 addresses"
    assert as_json.last["ts"].endswith("Z")
    assert len(as_json.last["ts"]) == len("2026-11-25T23:17:18.359Z")
    assert as_text.text.endswith(f" {as_json.last['pid']} WARNING shop.mail: sent to 3 addresses\n")


def test_a_line_inside_a_job(as_json: Log, as_text: Log, in_job: None) -> None:
    for log in (as_json, as_text):
        log.logger.info("sent")
    assert as_json.last.items() >= IN_JOB.items()
    assert as_text.text.endswith(" INFO shop.mail 6bbe072f06ef1ba3b0525844: sent\n")


def test_a_process_with_an_identity(as_json: Log) -> None:
    names = iter(["web:1:0123456789ab", "web:1:ba9876543210"])
    as_json.origin.identity = lambda: next(names)
    for name in ("web:1:0123456789ab", "web:1:ba9876543210"):
        as_json.logger.info("here")
        assert as_json.last["identity"] == name
        assert "jid" not in as_json.last


def test_jobs_side_by_side_are_told_apart(as_json: Log) -> None:
    """In threads, and as coroutines of one thread."""

    def attempt(jid: str) -> Attempt:
        return Attempt(jid, "SendMail", "mail", 1, identity="web:7:0123456789ab", asked=None)  # type: ignore[arg-type]

    def work(jid: str, barrier: threading.Barrier) -> None:
        token = current.set(Running(attempt(jid)))
        barrier.wait(5)
        as_json.logger.info("I am %s", jid)
        current.reset(token)

    barrier = threading.Barrier(3)
    threads = [threading.Thread(target=work, args=(f"thread{number}", barrier)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async def wait(jid: str) -> None:
        current.set(Running(attempt(jid)))
        for _ in range(3):
            await asyncio.sleep(0)
            as_json.logger.info("I am %s", jid)

    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(wait(f"task{number}"), context=contextvars.copy_context())

    asyncio.run(both())
    lines = [json.loads(line) for line in as_json.text.splitlines()]
    assert len(lines) == 3 + 3 * 3
    assert all(line["msg"] == f"I am {line['jid']}" for line in lines)


def test_what_extra_gives_is_added_and_takes_no_name(as_json: Log, in_job: None) -> None:
    as_json.logger.info("sent", extra={"customer": {"id": 42}, "jid": "mine", "level": "mine", "when": 1.5})
    assert as_json.last["customer"] == {"id": 42}
    assert as_json.last["when"] == 1.5
    assert as_json.last["jid"] == IN_JOB["jid"]
    assert as_json.last["level"] == "INFO"


class Mute(Exception):
    """Does not let itself be written."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    "odd",
    [float("nan"), float("inf"), {1, 2}, b"\xff", {(1, 2): 3}, CIRCLE, Mute(), "lone \ud800", 10**5000, object()],
    ids=["nan", "inf", "set", "bytes", "keys", "circle", "mute", "surrogate", "huge", "object"],
)
def test_odd_values_cost_no_line(as_json: Log, in_job: None, odd: Any) -> None:
    as_json.logger.info("odd: %s", "é \ud800\n", extra={"odd": odd, "plain": "yes"})
    assert as_json.last["msg"] == "odd: é \ud800\n"
    assert as_json.last["plain"] == "yes"
    assert "odd" in as_json.last
    assert as_json.last["jid"] == IN_JOB["jid"]


def fail(error: Exception) -> None:
    """Raise it."""
    raise error


def test_errors(as_json: Log, as_text: Log) -> None:
    for log in (as_json, as_text):
        try:
            fail(ValueError("no such customer"))
        except ValueError:
            log.logger.exception("failed")
    assert as_json.last["msg"] == "failed"
    assert as_json.last["exception"].startswith("Traceback (most recent call last):\n")
    assert as_json.last["exception"].endswith("\nValueError: no such customer")
    assert as_text.text.count("\n") > 3
    assert as_text.text.endswith("\nValueError: no such customer\n")


def test_an_error_that_cannot_be_written(as_json: Log, as_text: Log) -> None:
    for log in (as_json, as_text):
        try:
            fail(Mute())
        except Mute as error:
            log.logger.info("failed", exc_info=error)
    assert "Mute" in as_json.last["exception"]
    assert "fail(Mute())" in as_text.text


def test_no_error_where_one_was_expected(as_json: Log) -> None:
    as_json.logger.info("fine", exc_info=True)  # noqa: LOG014 - a mistake that is easily made
    assert as_json.last["exception"] == ""


def test_a_stack(as_json: Log) -> None:
    as_json.logger.info("here", stack_info=True)
    assert "test_a_stack" in as_json.last["stack"]


def test_the_filter_of_the_documentation(as_text: Log) -> None:
    """For applications with handlers of their own."""
    page = Path(__file__).resolve().parents[2] / "docs" / "logging.md"
    code = page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {"logging": logging, "reliq": reliq}
    exec(code, names)  # noqa: S102 - it is our own
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter("%(jid)s %(message)s"))
    handler.addFilter(names["InJob"]())
    as_text.logger.addHandler(handler)
    as_text.logger.info("outside")
    token = current.set(Running(ATTEMPT))
    as_text.logger.info("inside")
    current.reset(token)
    assert out.getvalue() == "- outside\n6bbe072f06ef1ba3b0525844 inside\n"
