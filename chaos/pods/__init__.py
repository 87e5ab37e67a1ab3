"""Where the pods of a run live: on this machine, or on a cluster."""
