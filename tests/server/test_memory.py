"""A job that uses up the memory: its death has that cause."""

from pathlib import Path
from typing import cast

import pytest

from chaos.eventually import eventually
from chaos.pods.cgroup import memory_limit
from chaos.servers import Server
from reliq.server.memory import oom_kills
from tests.server.conftest import FleetOn


def test_a_group_of_the_unified_hierarchy(tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text("0::/pod/worker\n", encoding="ascii")
    folder = tmp_path / "pod" / "worker"
    folder.mkdir(parents=True)
    (folder / "memory.events").write_text("low 0\noom 3\noom_kill 2\n", encoding="ascii")
    assert oom_kills(tmp_path, tmp_path / "cgroup") == 2


def test_a_group_of_the_old_hierarchy(tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text("5:cpu,memory:/pod\n1:name=systemd:/\n", encoding="ascii")
    folder = tmp_path / "memory" / "pod"
    folder.mkdir(parents=True)
    (folder / "memory.oom_control").write_text("oom_kill_disable 0\noom_kill 7\n", encoding="ascii")
    assert oom_kills(tmp_path, tmp_path / "cgroup") == 7


def test_where_nothing_can_be_seen(tmp_path: Path) -> None:
    assert oom_kills(tmp_path, tmp_path / "cgroup") == 0
    (tmp_path / "cgroup").write_text("nonsense\n", encoding="ascii")
    assert oom_kills(tmp_path, tmp_path / "cgroup") == 0
    (tmp_path / "cgroup").write_text("0::/\n", encoding="ascii")
    (tmp_path / "memory.events").write_text("oom_kill many\n", encoding="ascii")
    assert oom_kills(tmp_path, tmp_path / "cgroup") == 0


def test_the_timeline_of_a_job_that_eats_the_memory(server: Server, fleet_on: FleetOn) -> None:
    limit = memory_limit(200 * 1024 * 1024)
    if limit is None:
        pytest.skip("no control group with a memory limit can be made here")
    fleet = fleet_on(server.url, settings={"timeline_rate": 1.0})

    def events(jid: str) -> list[bytes]:
        return cast("list[bytes]", fleet.client.lrange(f"timeline:{jid}", 0, -1))

    try:
        pod = fleet.start(wait=False)
        limit.procs.write_text(str(pod.process.pid), encoding="ascii")
        pod.ready()
        jid = fleet.enqueue("hog")
        eventually(lambda: limit.kills() > 0, 30, "the kernel has killed it")
        eventually(lambda: pod.logged("the memory was used up"), 10, "the supervisor knows why")
        eventually(lambda: b"memory was used up" in b"".join(events(jid)), 10, "and has written it down")
    finally:
        for one in fleet.pods:
            one.kill()
        limit.close()
