-- overdue: tells which identities have not beaten for a while, by the server's own clock.
-- KEYS: beats
-- ARGV: late_ms, most
-- Returns: identity, milliseconds since its last beat, ...; the oldest first
-- Twice: it changes nothing
local beats = KEYS[1]
local late_ms, most = tonumber(ARGV[1]), ARGV[2]

-- A write, if an idle one: whoever may not write gets no answer, since nobody could beat there, either.
redis.call('PERSIST', beats)
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local found = redis.call(
  'ZRANGEBYSCORE', beats, '-inf', string.format('%.3f', (now - late_ms) / 1000), 'WITHSCORES', 'LIMIT', 0, most
)
for i = 2, #found, 2 do
  found[i] = math.floor(now - tonumber(found[i]) * 1000)
end
return found
