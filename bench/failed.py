"""The one error of a measurement."""

from __future__ import annotations


class Failed(Exception):
    """This peer could not be measured in this row; the message says why, in one line."""
