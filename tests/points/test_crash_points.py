"""Every path of a job's life, struck at every command, in every way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chaos.servers import Server
from tests.points.mutants import MUTANTS
from tests.points.paths import PATHS
from tests.points.points import BLOWS, cases, play
from tests.points.world import Kit

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def kit(server: Server) -> Iterator[Kit]:
    with server.client(single_connection_client=True) as client:
        yield Kit(server.url, client)


@pytest.mark.parametrize("path", PATHS)
def test_a_path_without_faults_is_what_it_says(kit: Kit, path: str) -> None:
    sent = [command for command, _ in play(kit, path).sent]
    assert sent
    missing = [about for about in PATHS[path].about if not any(one.startswith(about) for one in sent)]
    assert not missing, f"{path} sends no {missing}"


@pytest.mark.parametrize("group", BLOWS)
@pytest.mark.parametrize("path", PATHS)
def test_every_command_may_be_struck(kit: Kit, path: str, group: str) -> None:
    struck = 0
    for name, blow, number in cases(play(kit, path), group):
        try:
            play(kit, path, blow, number)
        except AssertionError as error:
            raise AssertionError(f"{path}/{name}/{number}: {error}") from None
        struck += 1
    assert struck


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_piece_is_found(server: Server, kit: Kit, name: str) -> None:
    mutant, path = MUTANTS[name]
    unbroken = play(kit, path)
    broken = Kit(server.url, kit.client, mutant.library())
    every = [(None, None), *((blow, at) for group in BLOWS for _, blow, at in cases(unbroken, group))]
    with mutant.patched():
        assert any(_is_found(broken, path, blow, at) for blow, at in every), "nothing was found on any case of its path"
    kit.teach()


def _is_found(kit: Kit, path: str, blow: object, at: int | None) -> bool:
    try:
        play(kit, path, blow, at)  # type: ignore[arg-type]
    except AssertionError:
        return True
    return False
