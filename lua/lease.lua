-- lease: the owner leads a duty until the lease runs out, if nobody else does.
-- KEYS: lease, counter
-- ARGV: owner, lease_ms
-- Returns: the fencing number of this leadership; 0 when another one leads
-- Twice: the second call renews the lease and returns the same number
local lease, counter = KEYS[1], KEYS[2]
local owner, lease_ms = ARGV[1], ARGV[2]

local leader = redis.call('GET', lease)
if leader == owner then
  redis.call('PEXPIRE', lease, lease_ms)
  return tonumber(redis.call('GET', counter) or redis.call('INCR', counter))
end
if leader then
  return 0
end
-- First write: PERSIST is allowed on a full server. The counter has no expiry: numbers never fall.
redis.call('PERSIST', counter)
local number = redis.call('INCR', counter)
redis.call('SET', lease, owner, 'PX', lease_ms)
return number
