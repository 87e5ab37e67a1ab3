"""The page of a report: whole, by itself, and deaf to what a ledger says."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest
from rich.console import Console

from chaos.ledger import Ledger
from chaos.records import FaultRecord, PodEvent
from chaos.report import write
from chaos.report.page import LISTED, page
from chaos.report.terminal import show
from chaos.verdict import Check, Finding, Recovery, Verdict
from tests.chaos import report_ledger
from tests.chaos.markup_reader import read, text_of, with_class

HOSTILE = "</title></style><script>alert('x')</script>\"><img src=x onerror='y'>&amp;\x00\x1b[31m\ud800"

STORED = HOSTILE.removesuffix("\ud800")
"""Without what SQLite refuses to store as text; JSON can carry it."""


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A run of two minutes."""
    with report_ledger.build(tmp_path / "ledger.sqlite", minutes=2, jobs=800, faults=60) as built:
        yield built


@pytest.mark.parametrize(
    ("judge", "word"), [(report_ledger.clean, "CLEAN"), (report_ledger.broken, "BROKEN"), (report_ledger.void, "VOID")]
)
def test_says_all_of_the_verdict(ledger: Ledger, judge: Callable[[Ledger], Verdict], word: str) -> None:
    verdict = judge(ledger)
    root = read(page(ledger, verdict))
    assert next(text_of(strong) for strong in root.iter("strong")) == word
    text = text_of(root)
    said = [check.promise for check in verdict.checks] + [finding.what for _, finding in verdict.findings]
    said += [*verdict.void, *(fault.name for fault in ledger.faults()), *(one.kind for one in verdict.recoveries)]
    assert [sentence for sentence in said if sentence not in text] == []


def test_needs_nothing_else(ledger: Ledger) -> None:
    text = page(ledger, report_ledger.broken(ledger))
    assert "://" not in text
    assert "@import" not in text
    root = read(text)
    assert not [element.tag for element in root.iter() if element.tag in {"script", "link", "img", "iframe", "object"}]
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    references = {element.get("href") for element in root.iter() if element.get("href")}
    assert references
    assert references <= {f"#{name}" for name in ids}
    assert text.count("url(") == text.count("url(#hatch)")


def test_shows_on_a_phone_and_in_the_dark(ledger: Ledger) -> None:
    text = page(ledger, report_ledger.clean(ledger))
    assert '<meta name="viewport" content="width=device-width, initial-scale=1"/>' in text
    assert "prefers-color-scheme: dark" in text
    root = read(text)
    wide = [element for element in root.iter() if element.tag == "table" or element.get("class") == "names"]
    boxed = [box[0] for box in with_class(root, "scroll")]
    assert wide == boxed, "what may be wider than a phone scrolls in a box of its own"


def test_an_empty_run_has_a_page(tmp_path: Path) -> None:
    ledger, verdict = report_ledger.empty(tmp_path / "ledger.sqlite")
    with ledger:
        root = read(page(ledger, verdict))
    assert "nothing judged" in text_of(root)
    assert "None, and none were armed." in text_of(root)


def test_a_run_that_never_began_has_a_report(tmp_path: Path) -> None:
    verdict = Verdict(checks=(), void=("it never began",), recoveries=(), counts={})
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        path = write(ledger, verdict, tmp_path)
        show(ledger, verdict, Console(file=io.StringIO()))
    assert "a run that never began" in text_of(read(path.read_text()))
    assert json.loads(path.with_name("report.json").read_text())["settings"] is None


def test_an_armed_fault_that_never_struck_is_told(tmp_path: Path) -> None:
    ledger, verdict = report_ledger.empty(tmp_path / "ledger.sqlite")
    with ledger:
        ledger.say_settings(attrs.evolve(ledger.settings(), armed=("kill-reaper",)))
        ledger.add_fault(FaultRecord(number=1, name="kill-reaper", target="redis", harm="none", at=5.0, in_flight=0))
        unsure = [text_of(element) for element in with_class(read(page(ledger, verdict)), "unsure")]
    assert "never in flight" in unsure


def test_what_the_ledger_says_stays_text(tmp_path: Path) -> None:
    ledger, verdict = report_ledger.empty(tmp_path / "ledger.sqlite")
    with ledger:
        ledger.say_settings(attrs.evolve(ledger.settings(), scenario=STORED, armed=(STORED,)))
        ledger.say("machine", {HOSTILE: HOSTILE})
        ledger.say("server_version", HOSTILE)
        for number, target in enumerate((STORED, f"{STORED}-1"), 1):
            ledger.add_fault(FaultRecord(number=number, name=STORED, target=target, harm="dead", at=5.0))
        ledger.add_pod_event(PodEvent(pod=f"{STORED}-1", what="start", at=4.0))
        ledger.add_pod_event(PodEvent(pod=f"{STORED}-1", what="end", at=6.0, detail={"code": HOSTILE}))
        finding = Finding(what=HOSTILE, token=1, at=5.0)
        verdict = Verdict(
            checks=(Check(name=HOSTILE, promise=HOSTILE, judged=1, findings=(finding,), skipped=HOSTILE),),
            void=(HOSTILE,),
            recoveries=(Recovery(kind=HOSTILE, seconds=(1.0,), bounded=(), bound=None),),
            counts={HOSTILE: 1},
        )
        root = read(page(ledger, verdict))
    assert not {"script", "img"} & {element.tag for element in root.iter()}
    assert not [name for element in root.iter() for name in element.keys() if name.startswith("on")]  # noqa: SIM118
    assert text_of(root).count("<script>alert('x')</script>") >= 12


def test_many_findings_do_not_bury_the_page(tmp_path: Path) -> None:
    ledger, verdict = report_ledger.empty(tmp_path / "ledger.sqlite")
    findings = tuple(Finding(what=f"lost {token}", token=token, at=5.0) for token in range(20_000))
    check = Check(name="no-loss", promise="Nothing is lost.", judged=20_000, findings=findings)
    with ledger:
        text = page(ledger, attrs.evolve(verdict, checks=(check,)))
    assert len(text) < 300_000
    assert f"And {20_000 - LISTED:,} more in report.json." in text


@pytest.mark.slow
def test_a_long_run_fits_into_two_megabytes(tmp_path: Path) -> None:
    with report_ledger.build(tmp_path / "ledger.sqlite", minutes=30, jobs=50_000, faults=1_000) as ledger:
        assert len(ledger.sent()) == 50_000
        path = write(ledger, report_ledger.broken(ledger), tmp_path / "report")
    assert path.stat().st_size < 2_000_000
    read(path.read_text())
