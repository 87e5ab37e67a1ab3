-- What a script sees inside Redis 6.2, and nothing else: an accidental global fails here before Redis refuses it.
std = "lua51"
read_globals = { "redis", "cjson", "cmsgpack", "bit", "struct", "KEYS", "ARGV" }
max_line_length = 120
