"""Moved to chaos.proxy."""

from chaos.proxy import *  # noqa: F403
