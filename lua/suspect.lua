-- suspect: looks at one identity's heartbeat and keeps the watch over a missing one.
-- KEYS: heartbeat, suspects
-- ARGV: identity, gap_ms
-- Returns: {'fenced'}; {'alive', counter}; or {'missing', milliseconds watched without a gap}
-- Twice: a second look only makes the last look newer
local heartbeat, suspects = KEYS[1], KEYS[2]
local identity, gap_ms = ARGV[1], tonumber(ARGV[2])

local value = redis.call('GET', heartbeat)
if value == 'fenced' then
  return {'fenced'}
end
if value then
  redis.call('HDEL', suspects, identity)
  return {'alive', value}
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local first, last = string.match(redis.call('HGET', suspects, identity) or '', '^(%d+):(%d+)$')
first, last = tonumber(first), tonumber(last)
-- A gap means that nobody could look: an outage, a clock step, a frozen reaper. Then nobody could beat, either.
if not first or now - last > gap_ms or now < last then
  first = now
end
-- First write: HDEL is allowed on a full server.
redis.call('HDEL', suspects, identity)
redis.call('HSET', suspects, identity, string.format('%.0f:%.0f', first, now))
return {'missing', now - first}
