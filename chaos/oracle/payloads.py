"""What was sent is what runs, byte for byte."""

from __future__ import annotations

from chaos.oracle.facts import Facts, Story
from chaos.verdict import Check, Finding


def check(facts: Facts) -> Check:
    """Compare the arguments and the id of every run with what was sent, and of every home where somebody looked."""
    findings: list[Finding] = []
    judged = 0
    for story in facts.stories.values():
        if story.sent is not None:
            judged += len(story.runs)
            findings += _of_story(story)
    for audit in facts.audits:
        findings += [
            Finding(what=f"job {token} changed between two homes: {how}", token=token, at=audit.ended_at)
            for token, how in audit.changed.items()
        ]
    if facts.final is not None:
        findings += [
            Finding(what=f"job {token} has other arguments at the end: {how}", token=token)
            for token, how in facts.final.changed.items()
        ]
    promise = "a payload that is moved, recovered or released keeps every byte"
    return Check(name="bytes", promise=promise, judged=judged, findings=tuple(findings))


def _of_story(story: Story) -> list[Finding]:
    assert story.sent is not None
    findings = []
    jid = story.sent.jid
    for run in story.runs:
        jid = run.jid if jid is None else jid
        what = ""
        if run.digest != story.sent.digest:
            what = f"job {story.token} ran with other arguments: {run.digest} instead of {story.sent.digest}"
        elif run.jid != jid:
            what = f"job {story.token} ran under two ids: {jid} and {run.jid}"
        if what:
            findings.append(Finding(what=what, token=story.token, at=run.started_at))
    return findings
