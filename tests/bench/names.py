"""What fake_app and its other side agree on."""

WAITING, HELD = "scratch:fake", "scratch:fake:held"
LATE = 0.5
"""Seconds from the last run to its settle, in the kind `late`."""
