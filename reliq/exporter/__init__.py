"""Fleet-wide numbers over HTTP, from Redis alone: for Prometheus, and for whoever scales the workers."""
