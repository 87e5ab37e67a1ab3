"""Proof that the harness can find things: broken builds, each played until it is caught."""
