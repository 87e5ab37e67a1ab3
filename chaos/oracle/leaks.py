"""Nothing stays behind: keys, connections, processes, open files."""

from __future__ import annotations

from chaos.oracle.facts import Facts
from chaos.verdict import Check, Finding

SPARE_FILES = 3
"""Open files that a process may have more at the end: a doorbell, a probe, a log that was opened late."""


def check(facts: Facts) -> Check:
    """Judge what was counted at the end."""
    promise = "nothing stays behind: no key that the key table does not know, no connection, process or open file"
    final = facts.final
    if final is None:
        return Check(name="leaks", promise=promise, judged=0, skipped="the run did not reach its end")
    counted = {"connections": final.connections, "processes": final.processes, "open files": final.descriptors}
    unseen = [name for name, count in counted.items() if count is None]
    if unseen:
        promise += f"; {', '.join(unseen)} could not be seen there and are not judged"
    findings = [Finding(what=f"a key that should not be there: {key}") for key in final.strange_keys]
    before, after = final.connections or (0, 0)
    if after > before:
        findings.append(Finding(what=f"{after} connections are left at the end; before the run it were {before}"))
    findings += [Finding(what=f"a process is left: {process}") for process in final.processes or ()]
    findings += [
        Finding(what=f"process {pid} has {end} open files at the end; it had {ready} when it was ready")
        for pid, (ready, end) in (final.descriptors or {}).items()
        if end > ready + SPARE_FILES
    ]
    # Keys, connections and processes are one look each.
    judged = 1 + (final.connections is not None) + (final.processes is not None) + len(final.descriptors or ())
    return Check(name="leaks", promise=promise, judged=judged, findings=tuple(findings))
