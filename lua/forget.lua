-- forget: drops a fenced identity from the walk when its last sign is old and nothing is left of it.
-- KEYS: heartbeat, beats, fleet, suspects, turn, processes, shown, work, signals, private...
-- ARGV: identity, keep_ms
-- Returns: 1 if it was dropped, else 0
-- Twice: the second call finds nothing to drop
local heartbeat, beats, fleet, suspects, turn = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local processes, shown, work, signals = KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local identity, keep_ms = ARGV[1], tonumber(ARGV[2])

local score = redis.call('ZSCORE', beats, identity)
if not score or redis.call('GET', heartbeat) ~= 'fenced' then
  return 0
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if now - tonumber(score) * 1000 < keep_ms then
  return 0
end
for i = 10, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then
    return 0
  end
end
redis.call('ZREM', beats, identity)
redis.call('HDEL', fleet, identity)
redis.call('HDEL', suspects, identity)
redis.call('SREM', processes, identity)
redis.call('DEL', turn, shown, work, signals)
return 1
