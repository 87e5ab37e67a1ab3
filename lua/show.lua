-- show: the process appears in Sidekiq's own view with these fields; a signal that the view left for it is taken.
-- KEYS: heartbeat, processes, shown, signals
-- ARGV: identity, shown_ms, fields...
-- Returns: the oldest waiting signal, or false; false for a condemned identity, which is not shown
-- Twice: it writes the same again; a signal is taken once, and taking none is harmless
local heartbeat, processes, shown, signals = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local identity, shown_ms = ARGV[1], ARGV[2]

if redis.call('GET', heartbeat) == 'fenced' then
  return false
end
-- First write: PEXPIRE is allowed on a full server.
redis.call('PEXPIRE', shown, shown_ms)
redis.call('SADD', processes, identity)
redis.call('HSET', shown, unpack(ARGV, 3))
redis.call('PEXPIRE', shown, shown_ms)
return redis.call('RPOP', signals)
