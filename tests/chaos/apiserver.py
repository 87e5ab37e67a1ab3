"""A stand-in for the API server of a cluster, on loopback: enough of it for the real kubectl to do what is asked.

It keeps a Deployment, pods and nodes as it was given them, changes them as the documented API does, and remembers what
it was asked to change. No controller and no kubelet is behind it: nothing is started because of it, or ends.
"""

import base64
import hashlib
import json
import re
import struct
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""Of the WebSocket handshake, RFC 6455."""

STDOUT, STDERR, ERROR = 1, 2, 3
"""Channels of the exec protocol `v5.channel.k8s.io`."""

GROUPS: dict[tuple[str, str], dict[str, tuple[str, bool, list[str]]]] = {
    ("", "v1"): {
        "pods": ("Pod", True, ["exec", "eviction"]),
        "nodes": ("Node", False, []),
        "namespaces": ("Namespace", False, []),
    },
    ("apps", "v1"): {"deployments": ("Deployment", True, ["scale"]), "replicasets": ("ReplicaSet", True, [])},
    ("policy", "v1"): {"poddisruptionbudgets": ("PodDisruptionBudget", True, [])},
    ("authorization.k8s.io", "v1"): {"selfsubjectaccessreviews": ("SelfSubjectAccessReview", False, [])},
}
SUBRESOURCES = {"exec": ("", "PodExecOptions"), "eviction": ("policy", "Eviction"), "scale": ("autoscaling", "Scale")}

EVICTION = {"name": "pods/eviction", "namespaced": True, "group": "policy", "version": "v1", "kind": "Eviction"}
"""What drain looks for before it evicts."""


class Asked(NamedTuple):
    """One request that changes something."""

    method: str
    path: str
    query: dict[str, list[str]]
    body: Any


class Exec(NamedTuple):
    """How a program in a container ended."""

    out: bytes
    err: bytes
    code: int


class ApiServer:
    """Serves from `with` on. Its attributes may be changed at any time."""

    def __init__(self, deployment: dict[str, Any], pods: list[dict[str, Any]], nodes: list[str]) -> None:
        self.deployment = deployment
        self.pods = pods
        self.nodes = {name: {"unschedulable": False} for name in nodes}
        self.denied: set[str] = set()
        """What `can-i` answers no to, as `patch nodes` or `create pods/exec`."""
        self.asked: list[Asked] = []
        self.lock = threading.RLock()
        """Held while it answers: whoever else changes its objects takes it, too."""
        self.execute: Callable[[str, list[str]], Exec] = lambda pod, command: Exec(b"", b"", 0)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"api": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def kubeconfig(self, context: str) -> str:
        """What kubectl has to read to find it under this name."""
        cluster = {"name": context, "cluster": {"server": self.url}}
        user = {"name": "developer", "user": {"token": "none"}}
        named = {"name": context, "context": {"cluster": context, "user": "developer"}}
        config = {"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "users": [user], "contexts": [named]}
        return json.dumps(config)

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        """Return status and object for a request."""
        if path in ("/api", "/apis"):
            return 200, discovery(core=path == "/api")
        if path == "/api/v1":
            return 200, {"kind": "APIResourceList", "groupVersion": "v1", "resources": [EVICTION]}
        if method != "GET":
            self.asked.append(Asked(method, path, query, body))
        if path.endswith("/selfsubjectaccessreviews"):
            return 201, self._review(body)
        found = re.fullmatch(r"/apis?/(?:apps/)?v1(?:/namespaces/[\w-]+)?/(\w+)(?:/([\w.-]+))?(?:/(\w+))?", path)
        kind, name, sub = found.groups() if found else ("", None, None)
        if kind == "pods" and name is None:
            return 200, {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": list(self._select(query))}
        if kind == "pods" and name is not None:
            return self._pod(method, name, sub, body)
        if kind == "namespaces" and name == self.deployment["metadata"]["namespace"]:
            return 200, {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}}
        if kind == "nodes" and name in self.nodes:
            return self._node(method, name, body)
        if kind == "deployments" and name is None:
            return 200, {"kind": "DeploymentList", "apiVersion": "apps/v1", "metadata": {}, "items": [self.deployment]}
        if kind == "deployments" and name == self.deployment["metadata"]["name"]:
            return self._deployment(method, sub, body)
        return not_found({"deployments": "deployments.apps"}.get(kind, kind), name or "")

    def _select(self, query: dict[str, list[str]]) -> Iterator[dict[str, Any]]:
        labels = dict(part.split("=") for part in query.get("labelSelector", [""])[0].split(",") if part)
        node = query.get("fieldSelector", [""])[0].removeprefix("spec.nodeName=")
        for pod in self.pods:
            if labels.items() <= pod["metadata"]["labels"].items() and node in ("", pod["spec"].get("nodeName")):
                yield pod

    def _pod(self, method: str, name: str, sub: str | None, body: Any) -> tuple[int, Any]:
        pod = next((pod for pod in self.pods if pod["metadata"]["name"] == name), None)
        if pod is None:
            return not_found("pods", name)
        if method == "POST" and sub == "eviction":
            self.pods.remove(pod)
            return 201, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        if method == "DELETE":
            grace = (body or {}).get("gracePeriodSeconds", pod["spec"]["terminationGracePeriodSeconds"])
            if grace == 0:
                self.pods.remove(pod)
            pod["metadata"] |= {"deletionTimestamp": "2026-05-04T10:00:30Z", "deletionGracePeriodSeconds": grace}
        return 200, pod

    def _node(self, method: str, name: str, body: Any) -> tuple[int, Any]:
        if method == "PATCH":
            self.nodes[name] = {"unschedulable": bool(body["spec"]["unschedulable"])}
        return 200, {"kind": "Node", "apiVersion": "v1", "metadata": {"name": name}, "spec": self.nodes[name]}

    def _deployment(self, method: str, sub: str | None, body: Any) -> tuple[int, Any]:
        spec = self.deployment["spec"]
        if sub == "scale":
            if method == "PATCH":
                spec["replicas"] = body["spec"]["replicas"]
            kind = {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": self.deployment["metadata"]}
            return 200, {**kind, "spec": {"replicas": spec["replicas"]}}
        if method == "PATCH":
            spec["template"]["metadata"]["annotations"] = body["spec"]["template"]["metadata"]["annotations"]
        return 200, self.deployment

    def _review(self, body: Any) -> dict[str, Any]:
        # kubectl asks this in protobuf. SelfSubjectAccessReview: spec 2, in it resourceAttributes 1, in it verb 2,
        # resource 5, subresource 6.
        asks = fields(fields(fields(body)[2])[1])
        words = f"{asks[2].decode()} {asks[5].decode()}" + (f"/{asks[6].decode()}" if asks.get(6) else "")
        kind = {"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "metadata": {}}
        return {**kind, "spec": {}, "status": {"allowed": words not in self.denied}}


def discovery(*, core: bool) -> dict[str, Any]:
    """Return the aggregated discovery document that kubectl begins with."""
    items = []
    for (group, version), resources in GROUPS.items():
        if (group == "") is core:
            found = [_resource(group, version, name, what) for name, what in resources.items()]
            items.append({"metadata": {"name": group}, "versions": [{"version": version, "resources": found}]})
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _resource(group: str, version: str, name: str, what: tuple[str, bool, list[str]]) -> dict[str, Any]:
    kind, namespaced, subs = what
    return {
        "resource": name,
        "singularResource": kind.lower(),
        "scope": "Namespaced" if namespaced else "Cluster",
        "responseKind": {"group": group, "version": version, "kind": kind},
        "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
        "subresources": [
            {
                "subresource": sub,
                "responseKind": {"group": SUBRESOURCES[sub][0], "version": "v1", "kind": SUBRESOURCES[sub][1]},
                "verbs": ["create", "get", "patch", "update"],
            }
            for sub in subs
        ],
    }


def not_found(kind: str, name: str) -> tuple[int, Any]:
    """Return what the API says of an object that is not there."""
    return 404, {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f'{kind} "{name}" not found',
        "reason": "NotFound",
        "details": {"name": name, "kind": kind},
        "code": 404,
    }


def decoded(body: bytes) -> Any:
    """Return a body: JSON as what it says, protobuf as the bytes of its message."""
    if body.startswith(b"k8s\0"):
        return fields(body[4:])[2]  # runtime.Unknown: raw 2
    return json.loads(body) if body else None


def fields(message: bytes) -> dict[int, bytes]:
    """Return the strings and messages of a protobuf message, by their number; none is longer than 127 bytes here."""
    found, at = {}, 0
    while at < len(message):
        tag, size = message[at], message[at + 1]
        if tag & 7 == 2:
            assert size < 128, "this stand-in reads short messages only"
            found[tag >> 3] = message[at + 2 : at + 2 + size]
            at += size
        at += 2
    return found


class Handler(BaseHTTPRequestHandler):
    """One connection of kubectl."""

    protocol_version = "HTTP/1.1"
    api: ApiServer

    def handle_any(self) -> None:
        """Answer one request, or run a program for it."""
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        exec_of = re.fullmatch(r"/api/v1/namespaces/[\w-]+/pods/([\w.-]+)/exec", parts.path)
        if exec_of and self.headers.get("Upgrade") == "websocket":
            self._execute(exec_of[1], query)
            return
        if "watch" in query:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        with self.api.lock:
            status, value = self.api.answer(self.command, parts.path, query, decoded(body))
            text = json.dumps(value).encode()
        self.send_response(status)
        discovered = ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList" if parts.path in ("/api", "/apis") else ""
        self.send_header("Content-Type", f"application/json{discovered}")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815 - http.server's names

    def _execute(self, pod: str, query: dict[str, list[str]]) -> None:
        self.api.asked.append(Asked("EXEC", pod, query, None))
        key = base64.b64encode(
            hashlib.sha1((self.headers["Sec-WebSocket-Key"] + MAGIC).encode(), usedforsecurity=False).digest()
        )
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", key.decode())
        self.send_header("Sec-WebSocket-Protocol", "v5.channel.k8s.io")
        self.end_headers()
        done = self.api.execute(pod, query["command"])
        # kubectl drops what arrives before it listens: no program in a container is ever that fast.
        time.sleep(0.05)
        for channel, data in ((STDOUT, done.out), (STDERR, done.err), (ERROR, _status(done.code))):
            if data:
                self._frame(2, bytes([channel]) + data)
        self._frame(8, struct.pack(">H", 1000))
        self.close_connection = True

    def _frame(self, opcode: int, data: bytes) -> None:
        size = bytes([len(data)]) if len(data) < 126 else b"\x7e" + struct.pack(">H", len(data))
        self.wfile.write(bytes([0x80 | opcode]) + size + data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Say nothing."""


def _status(code: int) -> bytes:
    status: dict[str, Any] = {"metadata": {}, "status": "Success"}
    if code:
        message = f"command terminated with non-zero exit code: exit status {code}"
        causes = [{"reason": "ExitCode", "message": str(code)}]
        details = {"causes": causes}
        status = {
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": "NonZeroExitCode",
            "details": details,
        }
    return json.dumps(status).encode()
