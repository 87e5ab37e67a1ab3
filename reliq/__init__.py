"""reliq: a reliable job queue for Python on Redis.

An application makes a `Reliq`, registers functions with `@app.job`, and sends them with `enqueue`;
`reliq worker -A module:app` runs them. README.md shows it, docs/guarantees.md says what holds.
"""

from __future__ import annotations

from reliq.app import Job, Reliq
from reliq.attempt import Attempt, current_attempt
from reliq.batch import Batch
from reliq.config import Config
from reliq.errors import (
    BadArguments,
    BadJob,
    BadPayload,
    ConfigError,
    DuplicateJob,
    Interrupt,
    JobInterrupted,
    JobTimeout,
    NoAttempt,
    OldServer,
    PayloadTooLarge,
    Refused,
    ReliqError,
    StoreError,
    UnknownJob,
    Unreachable,
)

__version__ = "0.1.0"

__all__ = [
    "Attempt",
    "BadArguments",
    "BadJob",
    "BadPayload",
    "Batch",
    "Config",
    "ConfigError",
    "DuplicateJob",
    "Interrupt",
    "Job",
    "JobInterrupted",
    "JobTimeout",
    "NoAttempt",
    "OldServer",
    "PayloadTooLarge",
    "Refused",
    "Reliq",
    "ReliqError",
    "StoreError",
    "UnknownJob",
    "Unreachable",
    "__version__",
    "current_attempt",
]
