"""Moved to chaos.eventually."""

from chaos.eventually import *  # noqa: F403
