"""What `kubectl get pods -o json` says of one pod, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from chaos.pods.kubecall import KubectlError


@attrs.frozen
class End:
    """How one run of a container ended. `code` is negative for a signal, None where nobody knows it."""

    code: int | None
    reason: str = ""
    """As Kubernetes says it: `Error`, `OOMKilled`, `Completed`, `Evicted`."""
    finished_at: str = ""
    """By the clock of the node, in whole seconds."""


@attrs.frozen(kw_only=True)
class PodState:
    """One pod at one look."""

    name: str
    uid: str
    created: str
    node: str
    """Empty while it has none."""
    phase: str
    """`Pending`, `Running`, `Succeeded`, `Failed`, `Unknown`."""
    reason: str
    """Why it is in that phase, as `Evicted`; mostly empty."""
    ready: bool
    deleting: bool
    grace: float | None
    """Seconds that it was given when it was deleted."""
    restarts: int
    """How often its container was started again: the number of the run that `running`, `waiting` speak of."""
    running: bool
    waiting: str
    """What the container waits for, as `CrashLoopBackOff`; empty if it does not."""
    ends: Mapping[int, End]
    """The ends that are on record, by number of the run."""


def pod_states(answer: Mapping[str, Any], container: str) -> list[PodState]:
    """Return the pods of a list, oldest first. Raises KubectlError for what is no list of pods."""
    items = answer.get("items")
    if not isinstance(items, list):
        raise KubectlError(f"kubectl get printed a {answer.get('kind', 'thing without a kind')}, not a list of pods")
    try:
        states = [_pod_state(item, container) for item in items]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise KubectlError(f"kubectl get printed a pod that cannot be read: {error!r}") from None
    return sorted(states, key=lambda state: (state.created, state.name))


def _pod_state(item: Mapping[str, Any], container: str) -> PodState:
    metadata, status = item["metadata"], item.get("status", {})
    conditions = {one["type"]: one["status"] for one in status.get("conditions") or []}
    statuses = {one["name"]: one for one in status.get("containerStatuses") or []}
    own = statuses.get(container, {})
    restarts, state = int(own.get("restartCount", 0)), own.get("state") or {}
    return PodState(
        name=metadata["name"],
        uid=metadata["uid"],
        created=metadata["creationTimestamp"],
        node=item["spec"].get("nodeName", ""),
        phase=status.get("phase", "Unknown"),
        reason=status.get("reason", ""),
        ready=conditions.get("Ready") == "True",
        deleting="deletionTimestamp" in metadata,
        grace=metadata.get("deletionGracePeriodSeconds"),
        restarts=restarts,
        running="running" in state,
        waiting=state.get("waiting", {}).get("reason", ""),
        ends=_ends(restarts, state, own.get("lastState") or {}),
    )


def _ends(restarts: int, state: Mapping[str, Any], last: Mapping[str, Any]) -> dict[int, End]:
    # A container that waits for its next start has the count of the run that has ended; only a started one moves it.
    ended = {restarts: state.get("terminated")}
    ended[restarts if "waiting" in state else restarts - 1] = last.get("terminated")
    return {number: _end(record) for number, record in ended.items() if record is not None}


def _end(record: Mapping[str, Any]) -> End:
    code = int(record["exitCode"])
    # 128 and the signal's number, as in a shell; the field `signal` is mostly left out.
    return End(128 - code if 128 < code <= 192 else code, record.get("reason", ""), record.get("finishedAt") or "")
