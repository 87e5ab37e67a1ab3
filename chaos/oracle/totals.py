"""Totals for the report."""

from __future__ import annotations

from collections import Counter

from chaos.oracle.facts import Facts


def count(facts: Facts) -> dict[str, int]:
    """Return how much of everything there was."""
    stories = facts.stories.values()
    answers = Counter(story.sent.answer or "unknown" for story in stories if story.sent is not None)
    counts = {
        "sent": sum(answers.values()),
        "acked": answers["acked"],
        "refused": answers["refused"],
        "unknown": answers["unknown"],
        "done": sum(story.done for story in stories),
        "buried": sum(story.dead for story in stories),
        "runs": sum(len(story.runs) for story in stories),
        "effects": len(facts.effects),
        "audits": len(facts.audits),
        "kills": sum(fault.harm == "dead" and not fault.observed for fault in facts.faults),
    }
    names = Counter(fault.name for fault in facts.faults)
    return counts | {f"fault: {name}": number for name, number in sorted(names.items())}
