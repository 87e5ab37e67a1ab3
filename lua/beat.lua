-- beat: one heartbeat: the identity is alive, unless it has been condemned.
-- KEYS: heartbeat, beats, suspects, shown, work
-- ARGV: identity, ttl_ms, shown_ms
-- Returns: {'fenced'} for a condemned identity; else {'ok', counter}, the beat counter as text
-- Twice: it counts one beat more, which nothing but the comparison in condemn looks at
local heartbeat, beats, suspects, shown, work = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local identity, ttl_ms, shown_ms = ARGV[1], ARGV[2], ARGV[3]

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
  -- Starts at the server's microseconds, so that a counter seen before an expiry never comes back.
  counter = tonumber(time[1]) * 1000000 + tonumber(time[2])
  redis.call('SET', heartbeat, string.format('%.0f', counter), 'PX', ttl_ms)
end
redis.call('ZADD', beats, time[1] .. '.' .. string.format('%06d', time[2]), identity)
redis.call('HDEL', suspects, identity)
redis.call('PEXPIRE', shown, shown_ms)
redis.call('PEXPIRE', work, shown_ms)
return {'ok', string.format('%.0f', counter)}
