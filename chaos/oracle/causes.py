"""What may bring a job back although a run of it began: its process died or was condemned, or Redis lost a write."""

from __future__ import annotations

from chaos.oracle.facts import Facts
from chaos.oracle.strikes import GRAIN, SETTLE_WITHIN, Death, Hold, Loss
from chaos.records import Run


def death_of(facts: Facts, run: Run, before: float) -> Death | None:
    """Return the death of the run's process, if it came before this moment, and before the run's settle."""
    process = facts.fleet.process(run)
    for death in facts.strikes.deaths(process):
        if run.started_at > death.latest or death.earliest > before:
            continue
        if run.ended_at is None:
            return death
        wait = facts.strikes.unhindered(process, run.ended_at, death.earliest)
        if run.ended_at <= death.latest and wait <= SETTLE_WITHIN:
            return death
    return None


def held(facts: Facts, run: Run, before: float) -> Hold | None:
    """Return what held the run's process up before this moment, so that it may have been condemned by then."""
    found = facts.strikes.holds(facts.fleet.process(run), run.started_at, before)
    return found[0] if found else None


def claim_lost(facts: Facts, run: Run, before: float) -> Loss | None:
    """Return the loss of writes, before this moment, that may have undone the run's claim: it went on nevertheless."""
    for loss in facts.strikes.undone:
        # A claim comes a moment before its start: a worker gives back what it cannot start at once.
        if loss.at <= before and loss.may_undo(run.started_at - GRAIN, run.started_at):
            return loss
    return None


def settle_lost(facts: Facts, run: Run, before: float) -> Loss | None:
    """Return the loss of writes, before this moment, that may have undone the run's settle."""
    if run.ended_at is None:
        return None
    process = facts.fleet.process(run)
    for loss in facts.strikes.undone:
        if loss.at > before or run.ended_at > loss.until + GRAIN:
            continue
        if facts.strikes.unhindered(process, run.ended_at, loss.horizon) <= SETTLE_WITHIN:
            return loss
    return None
