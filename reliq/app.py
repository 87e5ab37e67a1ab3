"""Reliq: the application's object, which registers jobs and enqueues them."""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, ParamSpec, TypeVar, overload

import attrs

from reliq.batch import Batch
from reliq.client import Client, Delay, When, due_at, due_in
from reliq.config import EMBEDDED, Config, shown_url
from reliq.errors import BadArguments
from reliq.handlers import Definition, Handlers, Wishes
from reliq.job import check_name, check_queue, check_retry
from reliq.store.opening import Store

P = ParamSpec("P")
R = TypeVar("R")

_log = logging.getLogger("reliq")


class Job(Generic[P, R]):
    """A registered function. Calling it just calls the function; `enqueue` and its kin send it to a worker.

    All of them raise BadArguments for arguments that are not JSON or do not fit the function, PayloadTooLarge,
    Refused (the job is not enqueued) and Unreachable (it may be or not), before or instead of returning. Inside of
    a batch they only collect; see `Reliq.batch_enqueue`.
    """

    def __init__(self, app: Reliq, definition: Definition) -> None:
        self._app = app
        self.definition = definition
        functools.update_wrapper(self, definition.function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function here and now."""
        return self.definition.function(*args, **kwargs)  # type: ignore[no-any-return]

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Enqueue the job; return its jid, 24 hexadecimal characters. One round trip."""
        return self._send(args, kwargs, None)

    def enqueue_in(self, delay: Delay, /, *args: P.args, **kwargs: P.kwargs) -> str:
        """Schedule the job `delay` from now, seconds or a timedelta, 0 or more; return its jid."""
        return self._send(args, kwargs, due_in(delay))

    def enqueue_at(self, when: When, /, *args: P.args, **kwargs: P.kwargs) -> str:
        """Schedule the job for `when`, an aware datetime or epoch seconds; return its jid."""
        return self._send(args, kwargs, due_at(when))

    def enqueue_many(self, calls: Iterable[tuple[Any, ...]]) -> list[str]:
        """Enqueue one job per tuple of positional arguments; return their jids.

        One round trip per thousand, and each thousand is seen at once or not at all. An error says how many jobs are
        enqueued: those before the thousand that failed.
        """
        definition = self.definition

        def checked() -> Iterator[tuple[Any, ...]]:
            for given in calls:
                if not isinstance(given, (tuple, list)):
                    raise BadArguments(f"job {definition.name}: enqueue_many wants a tuple per job, not {given!r}")
                args = tuple(given)
                definition.check(args, {})
                yield args

        return self._app.client.enqueue_many(definition.name, checked(), queue=definition.queue, retry=definition.retry)

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Enqueue the job without blocking the event loop; return its jid."""
        definition = self.definition
        definition.check(args, kwargs)
        return await self._app.client.aenqueue(
            definition.name, args, kwargs, queue=definition.queue, retry=definition.retry
        )

    def using(self, *, queue: str | None = None, retry: bool | int | None = None) -> Job[P, R]:
        """Return the same job with another queue or retry rule."""
        changes: dict[str, Any] = {}
        if queue is not None:
            changes["queue"] = queue
        if retry is not None:
            changes["retry"] = retry
        return Job(self._app, attrs.evolve(self.definition, **changes))

    def _send(self, args: tuple[Any, ...], kwargs: dict[str, Any], at: float | None) -> str:
        definition = self.definition
        definition.check(args, kwargs)
        return self._app.client.enqueue(
            definition.name, args, kwargs, queue=definition.queue, retry=definition.retry, at=at
        )


class Reliq:
    """An application's jobs, and its way to Redis.

    Without a URL: `RELIQ_URL` from the environment, else the embedded server in ./.reliq. `namespace` stands
    before every key. `queue`, `retry` and `timeout` are what a job gets that does not say otherwise; `config`
    carries all further settings. Nothing connects before the first job is sent.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        namespace: str | None = None,
        queue: str = "default",
        retry: bool | int = True,
        timeout: float | None = None,
        config: Config | None = None,
    ) -> None:
        self._url = url if url is not None else (config.url if config is not None else None)
        settings = config or Config()
        if namespace is not None:
            settings = attrs.evolve(settings, namespace=namespace)
        if url is not None:
            settings = attrs.evolve(settings, url=url)
        self._settings = settings
        self._defaults = Wishes(queue=queue, retry=retry, timeout=timeout)
        self.handlers = Handlers()
        self._client: Client | None = None
        self._lock = threading.Lock()

    @overload
    def job(self, function: Callable[P, R], /) -> Job[P, R]: ...

    @overload
    def job(
        self,
        name: str | None = None,
        /,
        *,
        queue: str | None = None,
        retry: bool | int | None = None,
        timeout: float | None = None,
    ) -> Callable[[Callable[P, R]], Job[P, R]]: ...

    def job(
        self,
        name: str | Callable[..., Any] | None = None,
        /,
        *,
        queue: str | None = None,
        retry: bool | int | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Register a function as a job, under its own name or the one given.

        `retry`: True for 25 retries over some 20 days, False to forget it when it fails, a number, 0 for
        straight to the dead set. `timeout`: seconds after which JobTimeout is raised in it. Raises DuplicateJob
        and ConfigError.
        """
        if callable(name):
            return self._register(name, name.__name__, {})
        given = {"queue": queue, "retry": retry, "timeout": timeout}
        options = {key: value for key, value in given.items() if value is not None}

        def register(function: Callable[..., Any]) -> Job[..., Any]:
            return self._register(function, name or function.__name__, options)

        return register

    def _register(self, function: Callable[..., Any], name: str, options: dict[str, Any]) -> Job[..., Any]:
        definition = Definition(name=name, function=function, **(attrs.asdict(self._defaults) | options))
        self.handlers.add(definition)
        return Job(self, definition)

    def enqueue(
        self, name: str, /, *args: Any, queue: str | None = None, retry: bool | int | None = None, **kwargs: Any
    ) -> str:
        """Enqueue a job by name, also one that only another program knows; return its jid."""
        return self._by_name(name, args, kwargs, queue, retry, None)

    def enqueue_in(
        self,
        delay: Delay,
        name: str,
        /,
        *args: Any,
        queue: str | None = None,
        retry: bool | int | None = None,
        **kwargs: Any,
    ) -> str:
        """Schedule a job by name `delay` from now, seconds or a timedelta; return its jid."""
        return self._by_name(name, args, kwargs, queue, retry, due_in(delay))

    def enqueue_at(
        self,
        when: When,
        name: str,
        /,
        *args: Any,
        queue: str | None = None,
        retry: bool | int | None = None,
        **kwargs: Any,
    ) -> str:
        """Schedule a job by name for `when`, an aware datetime or epoch seconds; return its jid."""
        return self._by_name(name, args, kwargs, queue, retry, due_at(when))

    def _by_name(  # noqa: PLR0917 - called three times, right above
        self,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        queue: str | None,
        retry: bool | int | None,
        at: float | None,
    ) -> str:
        known = self.handlers.get(name)
        if queue is None:
            queue = known.queue if known else self._defaults.queue
        if retry is None:
            retry = known.retry if known else self._defaults.retry
        return self.client.enqueue(
            check_name(name), args, kwargs, queue=check_queue(queue), retry=check_retry(retry), at=at
        )

    def batch_enqueue(self) -> Batch:
        """Collect what is enqueued in a `with` or `async with` block, and send it together.

        All calls of this application that enqueue, made in the block by this thread or task, return as soon as the job
        is collected. A chunk of a thousand jobs or a MiB is sent when it is full, and the rest at the end of the block;
        each queue keeps the order of the calls.

        If the block raises, nothing more is sent, and a note at the error says how many jobs were. If Redis does not
        take a chunk, Refused or Unreachable says the same. It is raised by the call that fills this chunk or the next
        one, or by the end of the block; and again by each later call in the block, and by its end.

        A block inside of another one of the same application belongs to that one, and ends with it.
        """
        return self.client.batch()

    @property
    def config(self) -> Config:
        """The settings in force."""
        if self._url is None:
            url = os.environ.get("RELIQ_URL")
            if url is None:
                url = EMBEDDED
                _log.info("no Redis URL given (RELIQ_URL is not set): using the embedded server in ./.reliq")
            self._url = url
            self._settings = attrs.evolve(self._settings, url=url)
        return self._settings

    def configure(self, *, url: str | None = None, default_url: str | None = None, **changes: Any) -> Config:
        """Change settings before the first job is sent: what a worker does with its command line.

        `url` overrules the application's own, `default_url` counts only if it has none.
        """
        chosen = url or self._url or default_url
        if chosen is not None:
            self._url = chosen
            changes["url"] = chosen
        self._settings = attrs.evolve(self._settings, **changes)
        return self.config

    @property
    def client(self) -> Client:
        """The connection to Redis, opened when first asked for."""
        if self._client is None:
            with self._lock:
                if self._client is None:
                    self._client = Client(Store(self.config))
        return self._client

    def close(self) -> None:
        """Close the connections. The next job opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def __repr__(self) -> str:
        """Name the server and count the jobs."""
        return f"<Reliq {shown_url(self._url) if self._url else 'not connected'}, {len(self.handlers)} jobs>"
