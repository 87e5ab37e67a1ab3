"""Everything that runs: the supervisor, the worker processes, and the duties of recovery."""
