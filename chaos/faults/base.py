"""What a fault is: a name, a sentence, and something that it does to the stage."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from chaos.pods.base import Verb
from chaos.stage import Stage


@attrs.frozen
class Fault:
    """One kind of fault. `strike` returns False if there was nothing that it could strike now.

    A fault that springs later (a trap) logs itself then; `strike` only says that it has been set. The strike must log
    every fault under `name`, or under one of `also`.
    """

    name: str
    what: str
    strike: Callable[[Stage], bool]
    verbs: frozenset[Verb] = frozenset()
    """What the cluster must be able to do."""
    proxied: bool = False
    """Whether it needs the proxies."""
    redis: bool = False
    """Whether it needs the server to be ours."""
