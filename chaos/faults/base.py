"""What a fault is: a name, a sentence, and something that it does to the stage."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs

from chaos.pods.base import Verb
from chaos.stage import Stage

LOCAL = "pods on this machine"
PROXIES = "a proxy before each pod"
OWN_REDIS = "a Redis of its own"


@attrs.frozen
class Fault:
    """One kind of fault. `strike` returns False if there was nothing that it could strike now.

    A fault that springs later (a trap) logs itself then; `strike` only says that it has been set. The strike must log
    every fault under `name`, or under one of `also`.
    """

    name: str
    strike: Callable[[Stage], bool]
    verbs: frozenset[Verb] = frozenset()
    """What the cluster must be able to do."""
    proxied: bool = False
    """Whether it needs the proxies."""
    redis: bool = False
    """Whether it needs the server to be ours."""
    local: bool = False
    """Whether it needs more of a pod than the Pod of chaos.pods.base can do."""
    what: str = attrs.field()
    """What it does, for people to read; the docstring of `strike` if nothing is given."""

    @what.default
    def _docstring(self) -> str:
        return self.strike.__doc__ or ""

    @property
    def needs(self) -> frozenset[str]:
        """What there must be for it to be possible, in words."""
        things = {PROXIES: self.proxied, OWN_REDIS: self.redis, LOCAL: self.local}
        return needs_of(self.verbs) | {thing for thing, needed in things.items() if needed}


def needs_of(verbs: Iterable[Verb]) -> frozenset[str]:
    """Return verbs in the words of `needs`."""
    return frozenset(f"the verb {verb}" for verb in verbs)
