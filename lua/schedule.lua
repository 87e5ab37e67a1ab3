-- schedule: adds all payloads to the schedule, or none; once per call number, however often it is sent.
-- KEYS: sent, schedule
-- ARGV: number, mark_ms, entries...
-- Returns: how many were added; 0 when this call number was applied before. Entries: due time in seconds, payload
-- Twice: the call number of the producer is remembered; a number that is not newer adds nothing
local sent, schedule = KEYS[1], KEYS[2]
local number, mark_ms = tonumber(ARGV[1]), ARGV[2]

if number <= tonumber(redis.call('GET', sent) or 0) then
  return 0
end
-- First write: a full server refuses it, and with it the whole call.
redis.call('ZADD', schedule, unpack(ARGV, 3))
redis.call('SET', sent, number, 'PX', mark_ms)
return (#ARGV - 2) / 2
