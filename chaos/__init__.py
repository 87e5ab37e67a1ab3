"""The chaos harness: runs reliq under faults, keeps a ledger of its own, and judges every job by it.

It drives the real command line and imports public names of `reliq` only, so it judges what users get.
"""
