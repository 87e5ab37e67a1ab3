"""A witness: who is told of the lives of a pod's processes, and of what was recovered. This one forgets it."""

from __future__ import annotations

from collections.abc import Callable

from reliq.server.children import Child
from reliq.store.processes import Reaped


class Witness:
    """What a supervisor tells. `reliq.server.metrics` keeps it, where there is somebody to show it to."""

    def started(self) -> None:
        """A process was started."""

    def crashed(self, cause: str) -> None:
        """A process ended without leaving; `cause` as `Child.bury` says it."""

    def dying(self, child: Child) -> None:
        """A process has ended, and is about to be no child any more."""

    def buried(self, child: Child, last_turn: Callable[[], int]) -> None:
        """One that has ended is done with. `last_turn` may raise StoreError; then this is told again."""

    def recovered(self, of: str, reaped: Reaped, seconds: float) -> None:
        """Jobs of a dead process are back, so many seconds after its death: of a `child`, or of a `pod`."""
