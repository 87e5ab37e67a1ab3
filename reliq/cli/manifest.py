"""What Kubernetes manifests say about the stop of a worker: grace period, preStop hook, time-outs, a shell."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import click

from reliq.cli.settings import gather
from reliq.cli.worker import NOTICE, quiet, stop, worker
from reliq.doctor import Shutdown
from reliq.errors import ConfigError

GRACE_PERIOD = 30.0
"""Seconds that Kubernetes gives a pod that does not say otherwise."""

SHELLS = ("sh", "bash", "ash", "dash")
_SCRIPT = re.compile("-[a-z]*c")


def shutdowns(path: str) -> list[Shutdown]:
    """Return how each worker of a file (`-`: standard input) is stopped.

    The file is YAML or JSON, with any number of objects. A container is a worker's if its command or its arguments
    say so; settings come from there, from its environment, and from reliq.toml of the working directory. Raises
    ConfigError.
    """
    found = [one for document in _documents(path) for one in _workers(path, document)]
    if not found:
        raise ConfigError(f"--manifest {path}: no container in it runs `reliq worker`")
    return found


def _documents(path: str) -> list[Any]:
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--manifest {path}: {getattr(error, 'strerror', None) or error}") from None
    try:
        return [json.loads(text)]
    except ValueError:
        pass
    try:
        import yaml  # noqa: PLC0415 - an optional package
    except ImportError:
        raise ConfigError(
            f"--manifest {path}: reading YAML needs PyYAML (pip install pyyaml); JSON works without"
        ) from None
    try:
        return list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        raise ConfigError(f"--manifest {path}: {error}") from None


def _workers(path: str, document: Any) -> Iterator[Shutdown]:
    if not isinstance(document, dict):
        return
    for item in document.get("items") or []:
        yield from _workers(path, item)
    name = f"{document.get('kind')}/{(document.get('metadata') or {}).get('name')}"
    for spec in _pod_specs(document):
        for container in spec["containers"]:
            words, shell = _words(container)
            if words[:1] == ["worker"]:
                yield _shutdown(f"{path} {name}", spec, container, words[1:], by_shell=shell)


def _pod_specs(part: Any) -> Iterator[dict[str, Any]]:
    """Find what has containers, however deep: a Pod, a Deployment, a CronJob."""
    if isinstance(part, dict):
        if isinstance(part.get("containers"), list):
            yield part
        for value in part.values():
            yield from _pod_specs(value)


def _words(container: dict[str, Any]) -> tuple[list[str], bool]:
    """Return what follows `reliq` on the command line, and whether a shell stays in between."""
    words = [str(word) for word in (container.get("command") or []) + (container.get("args") or [])]
    shell = False
    if len(words) > 2 and PurePosixPath(words[0]).name in SHELLS and _SCRIPT.fullmatch(words[1]):
        words = shlex.split(words[2], comments=True)
        shell = "exec" not in words
    for at, word in enumerate(words[:-1]):
        if PurePosixPath(word).name == "reliq":
            return words[at + 1 :], shell
    # An image whose entry point is `reliq` gets arguments alone.
    return ([] if container.get("command") else words), shell


def _shutdown(
    name: str, spec: dict[str, Any], container: dict[str, Any], words: list[str], *, by_shell: bool
) -> Shutdown:
    environment = {one["name"]: str(one["value"]) for one in container.get("env") or [] if "value" in one}
    try:
        given = worker.make_context("reliq worker", list(words)).params
    except click.UsageError as error:
        raise ConfigError(f"--manifest {name}: {error.format_message()}") from None
    del given["pidfile"]
    options = gather({"app": "unnamed", **{key: value for key, value in given.items() if value}}, environment).worker()
    wait, timeout = _hook(container, options.timeout)
    return Shutdown(
        name=name,
        grace_period=float(spec.get("terminationGracePeriodSeconds", GRACE_PERIOD)),
        prestop_wait=wait,
        timeout=timeout,
        grace=options.grace,
        by_shell=by_shell,
    )


def _hook(container: dict[str, Any], timeout: float) -> tuple[float, float]:
    """Return how long the preStop hook may take, and what the jobs have after it."""
    hook = (container.get("lifecycle") or {}).get("preStop") or {}
    if "sleep" in hook:
        return float(hook["sleep"].get("seconds", 0)), timeout
    words, _ = _words(hook.get("exec") or {"command": [""]})
    if words[:1] == ["quiet"]:
        wait = _wait_of(quiet, words[1:])
        return (NOTICE if wait is None else wait), timeout
    if words[:1] == ["stop"]:
        # The SIGTERM that follows the hook is the second one, which interrupts at once.
        wait = _wait_of(stop, words[1:])
        return 0.0, min(timeout, NOTICE if wait is None else wait)
    return 0.0, timeout


def _wait_of(command: click.Command, words: Sequence[str]) -> float | None:
    try:
        wait: float | None = command.make_context("preStop", list(words)).params["wait"]
    except click.UsageError as error:
        raise ConfigError(f"--manifest: preStop: {error.format_message()}") from None
    return wait
