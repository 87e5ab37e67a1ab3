"""Where settings come from: the command line first, then RELIQ_*, then reliq.toml or [tool.reliq], then defaults."""

from __future__ import annotations

import functools
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import cattrs

from reliq.config import EMBEDDED, LOG_FORMATS, LOG_LEVELS, Config, QueueOption, WorkerConfig, parse_queue
from reliq.errors import ConfigError


@functools.cache
def _store_fields() -> dict[str, Any]:
    return {field.name: field.type for field in attrs.fields(attrs.resolve_types(Config)) if field.name != "url"}


@functools.cache
def _worker_fields() -> dict[str, Any]:
    return {field.name: field.type for field in attrs.fields(attrs.resolve_types(WorkerConfig))}


@functools.cache
def _all_fields() -> dict[str, Any]:
    return {"url": str} | _store_fields() | _worker_fields()


def _boolean(value: Any, _: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in ("1", "true", "yes", "on"):
        return True
    if text in ("0", "false", "no", "off"):
        return False
    raise ValueError("write true or false")


def _queues(value: Any, _: Any) -> tuple[QueueOption, ...]:
    parts = value.split() if isinstance(value, str) else value
    return tuple(parse_queue(str(part)) for part in parts)


@functools.cache
def _converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    converter.register_structure_hook(bool, _boolean)
    converter.register_structure_hook_func(lambda kind: kind == tuple[QueueOption, ...], _queues)
    return converter


@attrs.frozen
class Settings:
    """All settings that were given, by the name of their field, and whether the URL was on the command line."""

    values: Mapping[str, Any]
    url_on_command_line: bool

    def store(self) -> dict[str, Any]:
        """Return the fields of Config that were given, without the URL."""
        return {name: value for name, value in self.values.items() if name in _store_fields()}

    @property
    def url(self) -> str | None:
        """The URL that was given, wherever."""
        return self.values.get("url")

    def with_options(self, given: Mapping[str, Any]) -> Settings:
        """Return these settings, overruled by options that were given later on the command line."""
        later = {name: value for name, value in given.items() if value is not None}
        return attrs.evolve(self, values={**self.values, **later})

    def log_level(self) -> str:
        """Return the log level. Raises ConfigError."""
        level = str(self.values.get("log_level", "INFO")).upper()
        if level not in LOG_LEVELS:
            raise ConfigError(f"log_level = {level!r}: write {', '.join(LOG_LEVELS)}")
        return level

    def log_format(self) -> str:
        """Return the form of log lines. Raises ConfigError."""
        form = str(self.values.get("log_format", LOG_FORMATS[0]))
        if form not in LOG_FORMATS:
            raise ConfigError(f"log_format = {form!r}: write {' or '.join(LOG_FORMATS)}")
        return form

    def config(self) -> Config:
        """Return the whole Config, for commands that load no application."""
        return Config(url=self.url or EMBEDDED, **self.store())

    def worker(self) -> WorkerConfig:
        """Return the worker's settings. Raises ConfigError without an application."""
        given = {name: value for name, value in self.values.items() if name in _worker_fields()}
        if "app" not in given:
            raise ConfigError("no application: write -A module:name, as in -A shop.jobs:app")
        return WorkerConfig(**given)


def gather(given: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of the command line (`given`, None for what was left out), the environment and the file.

    Raises ConfigError, naming the setting and where it came from.
    """
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    path, table = _file()
    for name, raw in table.items():
        values[name] = _typed(name, raw, str(path))
    for name in _all_fields():
        raw = environment.get(f"RELIQ_{name.upper()}")
        if raw is not None:
            values[name] = _typed(name, raw, f"RELIQ_{name.upper()}")
    shown = {name: value for name, value in given.items() if value is not None and value != ()}
    for name, raw in shown.items():
        values[name] = _typed(name, raw, "the command line")
    return Settings(values, "url" in shown)


def _typed(name: str, raw: Any, source: str) -> Any:
    if name not in _all_fields():
        raise ConfigError(f"{source}: there is no setting {name!r}")
    try:
        return _converter().structure(raw, _all_fields()[name])
    except ConfigError:
        raise
    except (ValueError, TypeError, cattrs.BaseValidationError) as error:
        raise ConfigError(f"{source}: {name} = {raw!r} is not valid: {error}") from None


def _file() -> tuple[Path, dict[str, Any]]:
    for path, inside in ((Path("reliq.toml"), ()), (Path("pyproject.toml"), ("tool", "reliq"))):
        try:
            data: Any = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError) as error:
            if inside:
                continue  # somebody else's file, and somebody else's to complain about
            raise ConfigError(f"{path}: {error}") from None
        for key in inside:
            data = data.get(key, {}) if isinstance(data, dict) else {}
        if not isinstance(data, dict):
            raise ConfigError(f"{path}: [{'.'.join(inside)}] is not a table")
        if data:
            return path, data
    return Path("reliq.toml"), {}
