"""Where a run takes place: on this machine, or on a cluster."""
