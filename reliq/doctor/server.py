"""What the server is, and how it is set up."""

from __future__ import annotations

from collections.abc import Iterator

from reliq.doctor.finding import FULL, Finding, Kind, Level, Unknown, well
from reliq.doctor.subject import Subject
from reliq.errors import Refused
from reliq.store.connection import OLDEST

TOO_OLD = Kind(
    "server-too-old",
    Level.PROBLEM,
    "Redis {version}",
    "reliq moves jobs with LMOVE, which came with Redis 6.2. Workers refuse to start.",
    "Upgrade to Redis 6.2 or newer, or to Valkey.",
)


def version(subject: Subject) -> Iterator[Finding]:
    """Whether the server has the commands that reliq is built on."""
    valkey = subject.info("server").get("valkey_version")
    if valkey:
        yield well(f"Valkey {valkey}")
        return
    text = subject.said("server", "redis_version")
    numbers = tuple(int(part) for part in text.split(".")[:2])
    yield TOO_OLD.found(version=text) if numbers < OLDEST else well(f"Redis {text}")


SENTINEL = Kind(
    "sentinel",
    Level.PROBLEM,
    "this is a Sentinel",
    "A Sentinel knows where the primary is, and keeps no jobs.",
    "Point the URL at the primary, or at a name or proxy that leads to it.",
)
REPLICA = Kind(
    "replica",
    Level.PROBLEM,
    "this is a read-only replica",
    "Nothing can be enqueued, claimed or settled here.",
    "Point the URL at the primary.",
)
CLUSTER_WITHOUT_TAG = Kind(
    "cluster-without-tag",
    Level.PROBLEM,
    "this is a node of a cluster, and the namespace {namespace!r} has no hash tag",
    "Every script touches several keys, which a cluster allows only within one slot.",
    "Give a namespace that is one hash tag, as in --namespace '{shop}:', or use a server without cluster mode.",
)
OTHER_NODE = Kind(
    "cluster-other-node",
    Level.PROBLEM,
    "this node of the cluster does not serve the namespace: {reason}",
    "reliq does not follow redirections. All commands are refused.",
    "Point the URL at the node that serves the slot of the namespace.",
)
CLUSTER = Kind(
    "cluster",
    Level.NOTE,
    "this is a node of a cluster, which serves the namespace {namespace!r}",
    "reliq does not follow the slot when it moves to another node. Until the URL leads there, everything is refused.",
    "Move the slot only while workers are stopped, or use a server without cluster mode.",
)
FAILOVER_LOSES = Kind(
    "failover-loses",
    Level.NOTE,
    "{replicas} replicas, and min-replicas-to-write is 0",
    "A fail-over undoes writes that the replica had not received: jobs are lost, or run again.",
    "Set min-replicas-to-write 1 and min-replicas-max-lag 10, if refusing writes is better for you than losing some.",
)


def role(subject: Subject) -> Iterator[Finding]:
    """Whether this is a primary that takes writes."""
    server = subject.info("server")
    mode = server.get("server_mode") or server.get("redis_mode", "standalone")
    if mode == "sentinel":
        yield SENTINEL.found()
        return
    if subject.said("replication", "role") != "master":
        yield REPLICA.found()
        return
    if mode == "cluster":
        yield _in_cluster(subject)
    replicas = int(subject.info("replication").get("connected_slaves", 0))
    if replicas and subject.number("min-replicas-to-write") == 0:
        yield FAILOVER_LOSES.found(replicas=replicas)
    elif mode != "cluster":
        yield well(f"a primary with {replicas} replicas" if replicas else "a primary without replicas")


def _in_cluster(subject: Subject) -> Finding:
    namespace = subject.config.namespace
    if "{" not in namespace:
        return CLUSTER_WITHOUT_TAG.found(namespace=namespace)
    try:
        subject.call("EXISTS", subject.keys.queues)
    except Refused as refusal:
        if refusal.code not in ("MOVED", "CLUSTERDOWN"):
            raise
        return OTHER_NODE.found(reason=refusal)
    return CLUSTER.found(namespace=namespace)


NOTHING_KEPT = Kind(
    "nothing-kept",
    Level.PROBLEM,
    "neither an append-only file nor snapshots",
    "A restart of Redis loses every job.",
    "Set appendonly yes, with CONFIG SET for now and in the server's configuration file for good.",
)
NO_APPEND_ONLY = Kind(
    "no-append-only-file",
    Level.WARNING,
    "no append-only file; snapshots: {save}",
    "A crash of Redis loses all jobs since the last snapshot, and those that were done since then run again.",
    "Set appendonly yes, with CONFIG SET for now and in the server's configuration file for good.",
)
FSYNC_NO = Kind(
    "fsync-no",
    Level.WARNING,
    "appendfsync is no",
    "The kernel writes when it likes. A power cut loses up to half a minute of jobs.",
    "Set appendfsync everysec or always.",
)
FSYNC_EVERYSEC = Kind(
    "fsync-everysec",
    Level.NOTE,
    "appendfsync is everysec",
    "A power cut, or the loss of the machine, may undo the last second. A crash of Redis alone loses nothing.",
    "Set appendfsync always if that second matters more than the time that each write then takes.",
)
DISK_ERRORS = Kind(
    "disk-errors",
    Level.PROBLEM,
    "Redis could not write its data to disk: {which}",
    "What it has acknowledged since then is in memory only; and it may refuse all writes (MISCONF).",
    "Look at the server's log: a full disk, missing rights, or too little memory for a fork.",
)


def persistence(subject: Subject) -> Iterator[Finding]:
    """What is left after a restart of Redis, and after a power cut."""
    fields = subject.info("persistence")
    states = {
        "append-only file": "aof_last_write_status",
        "its rewrite": "aof_last_bgrewrite_status",
        "snapshot": "rdb_last_bgsave_status",
    }
    failed = [name for name, field in states.items() if fields.get(field, "ok") != "ok"]
    if failed:
        yield DISK_ERRORS.found(which=", ".join(failed))
    if subject.said("persistence", "aof_enabled") == "0":
        try:
            save = subject.setting("save")
        except (Refused, Unknown):
            save = "not known"
        yield NO_APPEND_ONLY.found(save=save) if save else NOTHING_KEPT.found()
        return
    fsync = subject.setting("appendfsync")
    if fsync == "always":
        yield well("an append-only file, appendfsync always")
    else:
        yield FSYNC_NO.found() if fsync == "no" else FSYNC_EVERYSEC.found()


EVICTS = Kind(
    "evicts",
    Level.PROBLEM,
    "maxmemory-policy is {policy}, maxmemory {limit}",
    "A full Redis drops keys: whole queues, or with a volatile policy heartbeats and verdicts. Jobs are lost, or run "
    "twice.",
    "Set maxmemory-policy noeviction. A full Redis then refuses to enqueue, and drains.",
)
WOULD_EVICT = Kind(
    "would-evict",
    Level.WARNING,
    "maxmemory-policy is {policy}, without a limit so far",
    "As soon as maxmemory is set, a full Redis drops queues or heartbeats.",
    "Set maxmemory-policy noeviction.",
)
EVICTED = Kind(
    "evicted",
    Level.PROBLEM,
    "{keys} keys were dropped since the server started",
    "Among them may have been queues, private queues and heartbeats: jobs are missing, or ran twice.",
    "Set maxmemory-policy noeviction, give Redis more memory, and compare what was enqueued with what was done.",
)
NEARLY_FULL = Kind(
    "memory-nearly-full",
    Level.WARNING,
    "{used} of {limit} are in use",
    "A full Redis refuses to enqueue (OOM). What is queued goes on running.",
    "Raise maxmemory, add workers, or enqueue less.",
)
NO_LIMIT = Kind(
    "memory-unlimited",
    Level.NOTE,
    "maxmemory is not set",
    "Redis grows until the kernel kills it or the machine swaps, instead of refusing to enqueue.",
    "Set maxmemory below what the machine or the container has; leave room for the fork that rewrites the file.",
)


def memory(subject: Subject) -> Iterator[Finding]:
    """What happens when the memory is full, and how far that is."""
    policy = subject.said("memory", "maxmemory_policy")
    limit, used = int(subject.said("memory", "maxmemory")), int(subject.said("memory", "used_memory"))
    evicted = int(subject.info("stats").get("evicted_keys", 0))
    if evicted:
        yield EVICTED.found(keys=evicted)
    if policy != "noeviction":
        yield EVICTS.found(policy=policy, limit=_size(limit)) if limit else WOULD_EVICT.found(policy=policy)
    if not limit:
        yield NO_LIMIT.found()
    elif used > FULL * limit:
        yield NEARLY_FULL.found(used=_size(used), limit=_size(limit))
    elif policy == "noeviction":
        yield well(f"noeviction, {_size(used)} of {_size(limit)} in use")


def _size(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:,.1f} GiB"
