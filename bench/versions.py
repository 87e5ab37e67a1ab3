"""Which versions of the peers are measured. The one place to change them."""

from __future__ import annotations

PYTHON: dict[str, tuple[str, ...]] = {
    # The first requirement is the peer. All get the faster parser that their manuals recommend, taskiq the event loop.
    "dramatiq": ("dramatiq[redis]==2.2.1", "redis[hiredis]==8.1.0"),
    "celery": ("celery[redis]==5.7.0", "redis[hiredis]==8.1.0"),
    "rq": ("rq==3.0.0", "redis[hiredis]==8.1.0"),
    "arq": ("arq[hiredis]==0.28.0",),
    "saq": ("saq[redis,hiredis]==0.26.4", "typing-extensions==4.16.0"),  # the second it needs, but does not ask for
    "taskiq": ("taskiq==0.13.0", "taskiq-redis==1.2.4", "redis[hiredis]==8.1.0", "uvloop==0.23.0"),
    "huey": ("huey==3.5.4", "redis[hiredis]==8.1.0"),
}

DEBIAN: dict[str, tuple[str, ...]] = {
    # Debian's release pins them; the report names the version that was found. Debian 12 has Sidekiq 6.4.1.
    "sidekiq": ("ruby-sidekiq",),
    "sidekiq-reliable": ("ruby-sidekiq", "ruby-gitlab-sidekiq-fetcher"),
}
