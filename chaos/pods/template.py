"""What a Deployment's manifest tells a kubelet to do with a pod: the commands, the probes and the time."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import Any

import attrs


@attrs.frozen
class Probe:
    """An HTTP probe; `timeout` are seconds."""

    path: str
    timeout: float

    def ask(self, port: int) -> int:
        """Return the status that the pod at this port of the machine answers; 0 if it does not answer in time."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=self.timeout)
        try:
            connection.request("GET", self.path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def passes(self, port: int) -> bool:
        """Whether a kubelet would be content."""
        return 200 <= self.ask(port) < 400


@attrs.frozen(kw_only=True)
class Template:
    """The pod of a Deployment. `worker` and `prestop` are words after `reliq`; `grace` are seconds."""

    worker: tuple[str, ...]
    prestop: tuple[str, ...]
    environment: Mapping[str, str]
    startup: Probe
    readiness: Probe
    liveness: Probe
    grace: float

    @classmethod
    def of(cls, deployment: Mapping[str, Any]) -> Template:
        """Read a Deployment of one container that is started as `reliq`. Raises KeyError or ValueError otherwise."""
        spec = deployment["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        (reliq,) = container["command"]
        hook, *prestop = container["lifecycle"]["preStop"]["exec"]["command"]
        if (reliq, hook) != ("reliq", "reliq"):
            raise ValueError(f"the pod runs {reliq!r}, and {hook!r} before it stops: both should be `reliq`")
        return cls(
            worker=tuple(container["args"]),
            prestop=tuple(prestop),
            environment={one["name"]: one["value"] for one in container["env"] if "value" in one},
            startup=_probe(container, "startupProbe"),
            readiness=_probe(container, "readinessProbe"),
            liveness=_probe(container, "livenessProbe"),
            grace=float(spec["terminationGracePeriodSeconds"]),
        )


def _probe(container: Mapping[str, Any], name: str) -> Probe:
    said = container[name]
    ports = {one["name"] for one in container["ports"]}
    if said["httpGet"]["port"] not in ports:
        raise ValueError(f"{name} asks at a port that the container does not name: {said['httpGet']['port']!r}")
    return Probe(said["httpGet"]["path"], said["timeoutSeconds"])
