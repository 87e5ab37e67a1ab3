-- condemn: declares an identity dead, once and for good, if the evidence still stands at this very moment.
-- KEYS: heartbeat, suspects
-- ARGV: identity, evidence, confirm_ms, gap_ms, counter
-- Returns: {'fenced'} if it was condemned before; {'condemned'}; or {'alive', counter or ''}
--   evidence: `watch` - the heartbeat is absent and was watched for confirm_ms without a gap;
--   `counter` - the heartbeat still holds the counter that was seen;
--   `child` - as counter, or the heartbeat is absent: said by the only one who beats for it
-- Twice: the second call finds the verdict
local heartbeat, suspects = KEYS[1], KEYS[2]
local identity, evidence, confirm_ms, gap_ms, counter = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]

local value = redis.call('GET', heartbeat)
if value == 'fenced' then
  return {'fenced'}
end
local proven
if evidence == 'watch' then
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  local first, last = string.match(redis.call('HGET', suspects, identity) or '', '^(%d+):(%d+)$')
  proven = not value and first and now - tonumber(last) <= gap_ms and now - tonumber(first) >= confirm_ms
else
  proven = value == counter or (evidence == 'child' and not value)
end
if not proven then
  return {'alive', value or ''}
end
-- First write: DEL is allowed on a full server.
redis.call('DEL', heartbeat)
redis.call('SET', heartbeat, 'fenced', 'PX', 86400000)
redis.call('HDEL', suspects, identity)
return {'condemned'}
