"""A stand-in for a cluster's API server, on loopback and with TLS: it takes annotations of pods, or refuses them."""

import json
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from tests.chaos.apiserver import not_found

NAMESPACE = "shop"
USER = "system:serviceaccount:shop:reliq-exporter"

# What kube-apiserver answers, by what is wrong: status, reason, message.
REFUSALS = {
    401: ("Unauthorized", "Unauthorized"),
    403: ("Forbidden", f'pods "web-1" is forbidden: User "{USER}" cannot patch resource "pods" in API group ""'),
    429: ("TooManyRequests", "Too many requests, please try again later."),
    500: ("InternalError", "Internal error occurred: etcdserver: request timed out"),
}


class Asked(NamedTuple):
    """One request."""

    method: str
    path: str
    token: str
    kind: str
    body: Any


class ApiServer:
    """Serves from `with` on. `folder` is what Kubernetes mounts into a pod."""

    def __init__(self, folder: Path, pods: list[str]) -> None:
        self.folder = folder
        self.pods: dict[str, dict[str, str]] = {name: {} for name in pods}
        """Annotations by pod."""
        self.asked: list[Asked] = []
        self.refuse: dict[str, int] = {}
        """Status by pod, `*` for all."""
        certificate, key = folder / "ca.crt", folder / "key"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
                *("-days", "2", "-subj", "/CN=kubernetes", "-addext", "subjectAltName=IP:127.0.0.1"),
                *("-keyout", str(key), "-out", str(certificate)),
            ],
            check=True,
            capture_output=True,
        )
        (folder / "token").write_text("first\n", encoding="ascii")
        (folder / "namespace").write_text(NAMESPACE, encoding="ascii")
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"api": self}))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._server.daemon_threads = False  # so that closing waits for them
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def port(self) -> int:
        """Where it serves."""
        return self._server.server_port

    @property
    def environment(self) -> dict[str, str]:
        """What Kubernetes puts into the environment of a pod."""
        return {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(self.port)}

    def told(self) -> dict[str, str]:
        """The annotation by pod, of those that have it."""
        name = "controller.kubernetes.io/pod-deletion-cost"
        return {pod: values[name] for pod, values in self.pods.items() if name in values}

    def stop(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._thread.is_alive():
            self.stop()

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """Return status and object for a request."""
        pod = path.rpartition("/")[2]
        status = self.refuse.get(pod, self.refuse.get("*"))
        if status is not None:
            reason, message = REFUSALS[status]
            return status, {"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": status}
        if method != "PATCH" or path != f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}" or pod not in self.pods:
            return not_found("pods", pod)
        self.pods[pod] |= body["metadata"]["annotations"]
        return 200, {"kind": "Pod", "metadata": {"name": pod, "annotations": self.pods[pod]}}


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = 5
    api: ApiServer

    def handle_any(self) -> None:
        """Answer one request."""
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"null")
        token = self.headers["Authorization"].removeprefix("Bearer ")
        self.api.asked.append(Asked(self.command, self.path, token, self.headers["Content-Type"], body))
        status, value = self.api.answer(self.command, self.path, body)
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_PATCH = handle_any  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Say nothing."""
