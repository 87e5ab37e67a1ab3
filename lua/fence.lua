-- fence: draws a number that is larger than every one drawn before, for an identity that is not condemned.
-- KEYS: heartbeat, fence
-- ARGV: none
-- Returns: the number as text; false for a condemned identity
-- Twice: the second call draws a larger number; the first is merely unused
local heartbeat, fence = KEYS[1], KEYS[2]

if redis.call('GET', heartbeat) == 'fenced' then
  return false
end
local time = redis.call('TIME')
-- At least the server's microseconds, so that it grows even if Redis lost writes.
local clock = tonumber(time[1]) * 1000000 + tonumber(time[2])
local number = string.format('%.0f', math.max(tonumber(redis.call('GET', fence) or 0) + 1, clock))
-- First write: PERSIST is allowed on a full server.
redis.call('PERSIST', fence)
redis.call('SET', fence, number)
return number
