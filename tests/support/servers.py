"""Moved to chaos.servers."""

from chaos.servers import *  # noqa: F403
