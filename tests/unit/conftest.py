"""How property tests run: without files of their own, and without a deadline per example on a shared machine."""

from hypothesis import settings

settings.register_profile("reliq", database=None, deadline=None)
settings.load_profile("reliq")
