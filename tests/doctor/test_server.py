"""What the doctor says about servers that are set up in dangerous ways."""

import os
from pathlib import Path

import pytest

from chaos.eventually import eventually
from chaos.servers import Server, free_port
from reliq.doctor import Level
from reliq.doctor import subject as subjects
from tests.conftest import FreshServer
from tests.doctor.conftest import Doctor


def test_a_server_that_is_set_up_well(doctor: Doctor, fresh_server: FreshServer) -> None:
    server = fresh_server(durable=True, settings={"maxmemory": "200mb"})
    found = doctor(
        "version", "role", "persistence", "memory", "timeouts", "scripts", "clients", "access", url=server.url
    )
    assert found.keys() == {"ok"}


def test_the_version_is_told(doctor: Doctor, server: Server) -> None:
    what = doctor("version")["ok"].what
    assert what.split()[0] in ("Redis", "Valkey")
    assert what.split()[1] in server.version()


@pytest.mark.parametrize(("version", "name"), [("6.0.16", "server-too-old"), ("6.2.0", "ok"), ("10.0.1", "ok")])
def test_an_old_server(doctor: Doctor, monkeypatch: pytest.MonkeyPatch, version: str, name: str) -> None:
    monkeypatch.setattr(subjects, "info", lambda *_: {"redis_version": version})
    assert name in doctor("version")


def test_a_replica_and_its_primary(doctor: Doctor, fresh_server: FreshServer) -> None:
    primary = fresh_server(tcp=True)
    replica = fresh_server(settings={"replicaof": f"127.0.0.1 {primary.port}"})
    assert doctor("role", url=replica.url)["replica"].level is Level.PROBLEM
    eventually(lambda: "failover-loses" in doctor("role", url=primary.url), 15, "the replica has arrived")
    primary.config(min_replicas_to_write=1)
    assert doctor("role", url=primary.url)["ok"].what == "a primary with 1 replicas"


def test_no_check_breaks_on_a_replica(doctor: Doctor, fresh_server: FreshServer) -> None:
    primary = fresh_server(tcp=True)
    replica = fresh_server(settings={"replicaof": f"127.0.0.1 {primary.port}"})
    assert {"replica", "unchecked"} <= doctor(url=replica.url).keys()


def low_port() -> int:
    """A free port whose cluster bus, 10,000 above, is a port too."""
    return next(port for port in iter(free_port, None) if port < 55_000)


def test_a_cluster(doctor: Doctor, fresh_server: FreshServer) -> None:
    server = fresh_server(settings={"cluster-enabled": "yes", "port": str(low_port())})
    assert doctor("role", url=server.url)["cluster-without-tag"].level is Level.PROBLEM
    assert doctor("role", url=server.url, namespace="{shop}")["cluster-other-node"].level is Level.PROBLEM
    with server.client() as client:
        client.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
    eventually(lambda: "cluster" in doctor("role", url=server.url, namespace="{shop}"), 15, "the cluster is up")
    assert "cluster-without-tag" in doctor(url=server.url), "and no check breaks on it"


def test_a_sentinel(doctor: Doctor, tmp_path: Path, server: Server) -> None:
    # The program is a Sentinel by its name.
    program = tmp_path / "redis-sentinel"
    program.symlink_to(server.program)
    with Server(program=str(program)) as sentinel:
        found = doctor(url=sentinel.url)
        assert found["sentinel"].level is Level.PROBLEM


@pytest.mark.parametrize(
    ("settings", "name", "level"),
    [
        ({}, "nothing-kept", Level.PROBLEM),
        ({"save": "3600 1"}, "no-append-only-file", Level.WARNING),
        ({"appendonly": "yes", "appendfsync": "no"}, "fsync-no", Level.WARNING),
        ({"appendonly": "yes", "appendfsync": "everysec"}, "fsync-everysec", Level.NOTE),
        ({"appendonly": "yes", "appendfsync": "always"}, "ok", Level.OK),
    ],
)
def test_what_a_restart_leaves(
    doctor: Doctor, fresh_server: FreshServer, settings: dict[str, str], name: str, level: Level
) -> None:
    found = doctor("persistence", url=fresh_server(settings=settings).url)
    assert {one: finding.level for one, finding in found.items()} == {name: level}


def test_a_disk_that_takes_nothing(doctor: Doctor, fresh_server: FreshServer) -> None:
    server = fresh_server()
    (server.directory / "dump.rdb").mkdir()  # a snapshot cannot be moved to where a directory is
    with server.client() as client:
        client.bgsave()
    eventually(lambda: "disk-errors" in doctor("persistence", url=server.url), 10, "the snapshot fails")
    assert "snapshot" in doctor("persistence", url=server.url)["disk-errors"].what
    (server.directory / "dump.rdb").rmdir()


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"maxmemory-policy": "allkeys-lru"}, {"would-evict", "memory-unlimited"}),
        ({"maxmemory-policy": "allkeys-lru", "maxmemory": "100mb"}, {"evicts"}),
        ({"maxmemory-policy": "volatile-ttl", "maxmemory": "100mb"}, {"evicts"}),
        ({"maxmemory": "100mb"}, {"ok"}),
        ({}, {"memory-unlimited"}),
    ],
)
def test_the_memory(doctor: Doctor, fresh_server: FreshServer, settings: dict[str, str], names: set[str]) -> None:
    assert doctor("memory", url=fresh_server(settings=settings).url).keys() == names


def test_keys_that_were_dropped(doctor: Doctor, fresh_server: FreshServer) -> None:
    server = fresh_server(settings={"maxmemory-policy": "allkeys-lru", "maxmemory": "4mb"})
    with server.client() as client:
        for number in range(100):
            client.set(f"scratch:{number}", os.urandom(100_000))
    found = doctor("memory", url=server.url)
    assert {"evicted", "evicts"} <= found.keys()
    assert int(found["evicted"].what.split()[0]) > 50


def test_a_memory_that_is_nearly_full(doctor: Doctor, fresh_server: FreshServer) -> None:
    server = fresh_server()
    with server.client() as client:
        server.config(maxmemory=int(client.info("memory")["used_memory"] * 1.1))
    assert doctor("memory", url=server.url)["memory-nearly-full"].level is Level.WARNING
