"""The only room that speaks to Redis: keys, scripts, connections. Its callers see reliq's own errors."""
