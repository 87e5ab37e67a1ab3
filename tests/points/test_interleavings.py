"""Random interleavings of all actors, which Hypothesis shrinks when they break something."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from chaos.servers import Server
from tests.points.machine import Interleavings
from tests.points.mutants import MUTANTS
from tests.points.points import play
from tests.points.world import Kit, World

EXAMPLES = int(os.environ.get("RELIQ_INTERLEAVINGS", "80"))
USUAL = {
    "stateful_step_count": 35,
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    # The same ones each time, unless somebody asks for new ones: a search is not what a commit is judged by.
    "derandomize": "RELIQ_INTERLEAVINGS" not in os.environ,
}
EASY = ("promote by pop and push", "recover without ending the doorbells")
"""Broken pieces that a few hundred examples find for certain; crash points find the others."""

pytestmark = pytest.mark.timeout(60 + 2 * EXAMPLES)


@pytest.fixture
def kit(server: Server) -> Iterator[Kit]:
    with server.client(single_connection_client=True) as client:
        yield Kit(server.url, client)


def test_whatever_the_order_every_promise_holds(kit: Kit) -> None:
    usual = settings(max_examples=EXAMPLES, **USUAL)  # type: ignore[arg-type]
    run_state_machine_as_test(lambda: Interleavings(kit), settings=usual)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", EASY)
def test_a_broken_piece_is_found(server: Server, kit: Kit, name: str) -> None:
    mutant, _ = MUTANTS[name]
    broken = Kit(server.url, kit.client, mutant.library())
    found = settings(max_examples=1000, phases=[Phase.generate], database=None, **USUAL)  # type: ignore[arg-type]
    with mutant.patched(), pytest.raises(BaseException) as caught:  # noqa: PT011 - a group of failures, or one
        run_state_machine_as_test(lambda: Interleavings(broken), settings=found)  # type: ignore[arg-type]
    assert isinstance(caught.value, AssertionError | BaseExceptionGroup), caught.value
    kit.teach()


def test_one_that_is_told_to_stop_before_it_has_announced_itself_never_does(kit: Kit) -> None:
    """Found by the interleavings: it announced itself on its way out, and looked alive until its heartbeat ran out."""
    with World(kit) as world:
        pod = world.pod("default", running=False)
        pod.tell_to_stop(0.0)
        world.work(pod)
        assert not pod.child.alive
        assert not world.look().beats


def test_a_path_can_be_played_after_all_this(kit: Kit) -> None:
    assert play(kit, "enqueue").sent
