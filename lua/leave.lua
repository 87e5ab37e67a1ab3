-- leave: a process that holds nothing fences itself and is no longer shown; one that holds a job may not leave.
-- KEYS: heartbeat, processes, shown, work, signals, private...
-- ARGV: identity
-- Returns: {'held', length} while a private list holds jobs; {'left'}, also when it was fenced before
-- Twice: the second call finds the same and changes nothing
local heartbeat, processes, shown, work, signals = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local identity = ARGV[1]

if redis.call('GET', heartbeat) ~= 'fenced' then
  local length = 0
  for i = 6, #KEYS do
    length = length + redis.call('LLEN', KEYS[i])
  end
  if length > 0 then
    return {'held', length}
  end
end
-- First write: DEL is allowed on a full server.
redis.call('DEL', heartbeat, shown, work, signals)
redis.call('SET', heartbeat, 'fenced', 'PX', 86400000)
redis.call('SREM', processes, identity)
return {'left'}
