"""The one thing that is asked of Kubernetes: an annotation on a pod of the own namespace.

A pod finds the API server, its own token and the cluster's certificate where Kubernetes puts them. A client library
would bring more than all of reliq, for one PATCH.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing
from http.client import HTTPException, HTTPSConnection
from pathlib import Path

import attrs

from reliq.errors import ConfigError

FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds `token`, `ca.crt` and `namespace`."""

PATIENCE = 5.0
"""Seconds to wait for an answer."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


class NoAnswer(Exception):
    """The API server could not be reached."""


@attrs.frozen
class Answered:
    """What the API server said about one pod: the HTTP status, and its message when it refused."""

    pod: str
    status: int
    message: str = ""


def is_pod_name(text: str) -> bool:
    """Return whether a pod may be called so; nothing else may become part of a path."""
    return _NAME.fullmatch(text) is not None


class Pods:
    """The pods of the namespace in which this process runs. Raises ConfigError where it has no service account."""

    def __init__(self, host: str, port: int, folder: Path | None = None) -> None:
        self._host = host
        self._port = port
        self._folder = folder or FOLDER
        self._namespace = self._read("namespace")
        try:
            self._tls = ssl.create_default_context(cadata=self._read("ca.crt"))
        except ssl.SSLError as error:
            raise ConfigError(f"{self._folder / 'ca.crt'} is no certificate: {error}") from None

    @classmethod
    def around(cls, environment: Mapping[str, str], folder: Path | None = None) -> Pods:
        """Return them, by what Kubernetes puts into the environment. Raises ConfigError outside of a pod."""
        host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT", "443")
        if not host or not port.isdigit():
            raise ConfigError("--pod-deletion-cost works inside of Kubernetes only: KUBERNETES_SERVICE_HOST is not set")
        return cls(host, int(port), folder)

    def annotate(self, annotations: Mapping[str, Mapping[str, str]]) -> Iterator[Answered]:
        """Set annotations, by pod; yield the answers one by one. Raises NoAnswer, ConfigError without a token."""
        token = self._read("token")  # each time: it is replaced every hour
        connection = HTTPSConnection(self._host, self._port, timeout=PATIENCE, context=self._tls)
        with closing(connection):
            for pod, values in annotations.items():
                try:
                    yield self._patch(connection, token, pod, values)
                except (OSError, HTTPException) as error:
                    raise NoAnswer(str(error) or type(error).__name__) from None

    def _patch(self, connection: HTTPSConnection, token: str, pod: str, values: Mapping[str, str]) -> Answered:
        connection.request(
            "PATCH",
            f"/api/v1/namespaces/{self._namespace}/pods/{pod}",
            json.dumps({"metadata": {"annotations": values}}),
            {"Authorization": f"Bearer {token}", "Content-Type": "application/merge-patch+json"},
        )
        response = connection.getresponse()
        body = response.read()
        if response.status == 200:
            return Answered(pod, 200)
        try:
            message = str(json.loads(body)["message"])
        except (ValueError, KeyError, TypeError):
            message = response.reason
        return Answered(pod, response.status, message)

    def _read(self, name: str) -> str:
        path = self._folder / name
        try:
            return path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeError):
            raise ConfigError(
                f"cannot read {path}: give the pod a service account with automountServiceAccountToken: true"
            ) from None
