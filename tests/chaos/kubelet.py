"""A stand-in for what keeps a cluster going: it starts the pods of a Deployment, and restarts, ends and deletes them.

The pods are real: workers in a pid namespace of their own, with a host's name of their own. So every pod has the same
process ids, also the next container of the same pod. What a cluster would decide is decided here, after its documents.
"""

import copy
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from tests.chaos.apiserver import ApiServer, Exec
from tests.chaos.container import UNSHARE
from tests.chaos.recorded import pod as pod_object
from tests.support.fleet import ROOT

INIT = """
import json, os, signal, socket, subprocess, sys
socket.sethostname(sys.argv[1])
worker = subprocess.Popen(json.loads(sys.argv[2]), start_new_session=True)
signal.signal(signal.SIGTERM, lambda *_: worker.terminate())
code = worker.wait()
sys.exit(128 - code if code < 0 else code)
"""
"""Process 1 of a container, in place of the pause container and of containerd: nothing outlives the worker."""

LEAST_GRACE = 2.0
EVERY = 0.05


class Container:
    """One run of a pod's container."""

    def __init__(self, name: str, words: list[str], environment: dict[str, str], folder: Path) -> None:
        self.pidfile = folder / "worker.pid"
        worker = [sys.executable, "-m", *words, "--pidfile", str(self.pidfile)]
        with (folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [UNSHARE[0], "--uts", *UNSHARE[1:], sys.executable, "-ISc", INIT, name, json.dumps(worker)],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.hook: subprocess.Popen[bytes] | None = None
        self.kill_at = math.inf
        self.told = False

    def code(self) -> int | None:
        """How it ended."""
        return self.process.poll()

    def inside(self, words: list[str]) -> list[str]:
        """The command that runs a program in it; empty if it has ended."""
        pid = self.process.pid
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            children = []
        return ["nsenter", "--target", children[0], "--pid", "--mount", "setsid", "--wait", *words] if children else []

    def delete(self, grace: float) -> None:
        """Begin to end it: the preStop command."""
        self.kill_at = time.monotonic() + max(grace, LEAST_GRACE)
        hook = self.inside([sys.executable, "-m", "reliq", "quiet", "--pidfile", str(self.pidfile), "--wait", "1"])
        if hook:
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            quiet = subprocess.DEVNULL
            self.hook = subprocess.Popen(hook, env=environment, stdin=quiet, stdout=quiet, stderr=quiet)

    def go_on(self) -> None:
        """SIGTERM after the hook, SIGKILL after the grace period."""
        if not self.told and self.hook is not None and self.hook.poll() is not None:
            self.told = True
            init = self.inside([])
            if init:
                os.kill(int(init[2]), signal.SIGTERM)
        if time.monotonic() >= self.kill_at:
            self.end()

    def end(self) -> None:
        """SIGKILL to all of it."""
        self.process.kill()
        if self.hook is not None:
            self.hook.kill()

    def close(self) -> None:
        """End it and wait for it."""
        self.end()
        self.process.wait()
        if self.hook is not None:
            self.hook.wait()


class Kubelet(threading.Thread):
    """Works from `with` on. `url` and `collector` are what the pods are told."""

    def __init__(self, api: ApiServer, url: str, collector: str) -> None:
        super().__init__(name="kubelet")
        self._api = api
        self._folder = Path(tempfile.mkdtemp(prefix="reliq-", dir="/tmp"))  # short: unix sockets lie in it
        self._client = redis.Redis.from_url(url)
        template = api.deployment["spec"]["template"]["spec"]
        (worker,) = template["containers"]
        self._grace = template["terminationGracePeriodSeconds"]
        self._words = [*worker["command"], *worker["args"]]
        self._environment = {
            **os.environ,
            **{one["name"]: one["value"] for one in worker["env"] if "value" in one},
            "RELIQ_URL": url,
            "CHAOS_COLLECTOR": f"tcp:{collector}",
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self._containers: dict[str, Container] = {}
        self._going: list[Container] = []
        self._count = 0
        self._halt = threading.Event()
        self.error: BaseException | None = None
        api.execute = self.execute

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._halt.set()
        self.join()
        for container in (*self._containers.values(), *self._going):
            container.close()
        self._client.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        if self.error is not None:
            raise self.error

    def run(self) -> None:
        """Keep the pods going."""
        try:
            while not self._halt.wait(EVERY):
                with self._api.lock:
                    self._step()
        except BaseException as error:  # noqa: BLE001 - the test raises it
            self.error = error

    def execute(self, name: str, command: list[str]) -> Exec:
        """Run a program in a container, for the API server."""
        container = self._containers.get(name)
        words = [sys.executable, *command[1:]]
        inside = container.inside(words) if container is not None else []
        if not inside:
            return Exec(b"", b'unable to upgrade connection: container not found ("worker")\n', 1)
        done = subprocess.run(inside, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False)
        return Exec(done.stdout, done.stderr, done.returncode if done.returncode >= 0 else 128 - done.returncode)

    # -- one step

    def _step(self) -> None:
        api = self._api
        listed = {one["metadata"]["name"]: one for one in api.pods}
        for name in [name for name in self._containers if name not in listed]:
            container = self._containers.pop(name)  # deleted by force
            if container.kill_at == math.inf:
                container.delete(0)
            self._going.append(container)
        self._scale()
        for name, container in list(self._containers.items()):
            if name in listed:
                self._look_after(listed[name], name, container)
        for container in self._going:
            container.go_on()
        api.pods[:] = [one for one in api.pods if one["metadata"]["name"] in self._containers]

    def _scale(self) -> None:
        wanted = self._api.deployment["spec"]["replicas"]
        living = [one for one in self._api.pods if "deletionTimestamp" not in one["metadata"]]
        for one in living[wanted:]:
            one["metadata"] |= {"deletionTimestamp": "2026-05-04T10:00:30Z", "deletionGracePeriodSeconds": self._grace}
        for _ in range(wanted - len(living)):
            self._count += 1
            name = f"reliq-worker-7c9f8d6b5d-{self._count:05}"
            made = copy.deepcopy(pod_object("not-ready", metadata={"name": name, "uid": name}))
            self._api.pods.append(made)
            self._start(made, name, restarts=0, last={})

    def _start(self, one: dict[str, Any], name: str, *, restarts: int, last: dict[str, Any]) -> None:
        folder = self._folder / name[-5:]
        folder.mkdir(exist_ok=True)
        environment = {**self._environment, "POD_NAME": name, "TMPDIR": str(folder)}
        self._containers[name] = Container(name, self._words, environment, folder)
        self._status(one, restarts, {"running": {"startedAt": "2026-05-04T10:00:00Z"}}, last, ready=False)

    def _status(
        self, one: dict[str, Any], restarts: int, state: dict[str, Any], last: dict[str, Any], *, ready: bool
    ) -> None:
        container = {"name": "worker", "restartCount": restarts, "state": state, "lastState": last, "ready": ready}
        conditions = [{"type": "Ready", "status": str(ready)}]
        one["status"] = {"phase": "Running", "conditions": conditions, "containerStatuses": [container]}

    def _look_after(self, one: dict[str, Any], name: str, container: Container) -> None:
        (status,) = one["status"]["containerStatuses"]
        deleting = "deletionTimestamp" in one["metadata"]
        code = container.code()
        if code is None:
            if not status["ready"] and self._registered(name):
                self._status(one, status["restartCount"], status["state"], status["lastState"], ready=True)
            if deleting and container.kill_at == math.inf:
                container.delete(one["metadata"]["deletionGracePeriodSeconds"])
            if deleting:
                container.go_on()
            return
        container.close()
        if deleting:
            self._going.append(self._containers.pop(name))
            return
        code = code if code >= 0 else 128 - code
        ended = {"terminated": {"exitCode": code, "reason": "Completed" if code == 0 else "Error"}}
        self._start(one, name, restarts=status["restartCount"] + 1, last=ended)

    def _registered(self, name: str) -> bool:
        """What the startup probe asks: whether a process of this host is listed; maybe one of the last container."""
        fleet: Any = self._client.hkeys("fleet")
        return any(identity.startswith(f"{name}:".encode()) for identity in fleet)
