-- register: the identity is in the fleet with this entry, and has beaten once, unless it has been condemned.
-- KEYS: heartbeat, beats, suspects, fleet
-- ARGV: identity, ttl_ms, entry
-- Returns: {'fenced'} for a condemned identity; else {'ok', counter}
-- Twice: it writes the same entry again
local heartbeat, beats, suspects, fleet = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local identity, ttl_ms, entry = ARGV[1], ARGV[2], ARGV[3]

local value = redis.call('GET', heartbeat)
if value == 'fenced' then
  return {'fenced'}
end
local time = redis.call('TIME')
-- First write: PEXPIRE is allowed on a full server.
redis.call('PEXPIRE', heartbeat, ttl_ms)
local counter
if value then
  counter = redis.call('INCR', heartbeat)
else
  counter = tonumber(time[1]) * 1000000 + tonumber(time[2])
  redis.call('SET', heartbeat, string.format('%.0f', counter), 'PX', ttl_ms)
end
redis.call('ZADD', beats, time[1] .. '.' .. string.format('%06d', time[2]), identity)
redis.call('HDEL', suspects, identity)
redis.call('HSET', fleet, identity, entry)
return {'ok', string.format('%.0f', counter)}
