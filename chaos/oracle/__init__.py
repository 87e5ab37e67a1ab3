"""The oracle: from a ledger to a verdict, job by job. It reads nothing else and changes nothing.

What it excuses, it excuses by name: by a fault that struck the very process, at the very time. The allowances for what
no clock can tell exactly stand in `strikes`.
"""

from __future__ import annotations

from chaos.ledger import Ledger
from chaos.oracle import (
    conservation,
    counters,
    crashes,
    duplicates,
    fences,
    leaks,
    liveness,
    loss,
    order,
    payloads,
    recovery,
    totals,
    vacuity,
)
from chaos.oracle.facts import load
from chaos.verdict import Verdict

__all__ = ["judge"]


def judge(ledger: Ledger) -> Verdict:
    """Judge a run by its ledger."""
    try:
        facts = load(ledger)
    except KeyError as missing:
        return Verdict(checks=(), void=(f"the run never began: its ledger has no {missing}",), recoveries=(), counts={})
    losses = loss.check(facts)
    second_runs, causes = duplicates.check(facts)
    budget = crashes.check(facts)
    recovered, recoveries = recovery.check(facts)
    checks = (
        losses.check,
        payloads.check(facts),
        conservation.check(facts),
        second_runs,
        fences.check(facts),
        budget.check,
        order.check(facts),
        recovered,
        liveness.check(facts),
        leaks.check(facts),
        counters.check(facts),
    )
    counts = totals.count(facts) | {f"again: {name}": number for name, number in sorted(causes.items())}
    rare = {"lost by Redis": losses.by_redis, "innocent buried by crashes": budget.unlucky}
    return Verdict(
        checks=checks,
        void=vacuity.reasons(facts, checks),
        recoveries=recoveries,
        counts=counts | {name: number for name, number in rare.items() if number},
    )
