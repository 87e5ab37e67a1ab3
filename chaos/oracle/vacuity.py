"""Reasons why a run does not count, however clean: what was to be tried was not tried."""

from __future__ import annotations

from collections import defaultdict

from chaos.oracle.facts import Facts
from chaos.records import FaultRecord
from chaos.verdict import Check

MUST_JUDGE = ("lost", "duplicates", "conservation")
"""Checks without which nothing is proven."""


def reasons(facts: Facts, checks: tuple[Check, ...]) -> tuple[str, ...]:
    """Return the reasons, as sentences; none if the run counts."""
    found = []
    if facts.final is None:
        found.append("the run did not reach its end: nothing was measured there")
    elif facts.final.trimmed:
        found.append(f"{facts.final.trimmed} dead jobs were trimmed: buried jobs cannot be told from lost ones")
    found += _unfired(facts)
    if not any(story.done for story in facts.stories.values()):
        found.append("no job was done")
    if not facts.audits:
        found.append("no census was taken")
    elif len(facts.audits) < facts.audits_failed:
        tried = len(facts.audits) + facts.audits_failed
        found.append(f"only {len(facts.audits)} of {tried} censuses were answered")
    found += [f"nothing was judged for `{check.name}`" for check in checks if _empty(check)]
    return tuple(found)


def _empty(check: Check) -> bool:
    return check.name in MUST_JUDGE and check.judged == 0


def _unfired(facts: Facts) -> list[str]:
    fired: defaultdict[str, list[FaultRecord]] = defaultdict(list)
    for fault in facts.faults:
        fired[fault.name].append(fault)
    found = []
    for name in facts.settings.armed:
        if not fired[name]:
            found.append(f"the fault {name} was armed and never fired")
        elif not any(fault.in_flight > 0 or fault.detail.get("idle") for fault in fired[name]):
            found.append(f"the fault {name} fired {len(fired[name])} times, and never while a job ran")
    return found
