"""Running jobs: an attempt, and the threads that make it."""
