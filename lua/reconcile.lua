-- reconcile: shuts out every older turn, then tells what the process holds and which turn was the last applied.
-- KEYS: heartbeat, turn, private...
-- ARGV: number
-- Returns: {'fenced'} for a condemned identity; else {'ok', last, lists}: the number of the last turn that was
--   applied, and the payloads of each private list, newest first
-- Twice: it only raises the number that is shut out, and keeps which turn was the last applied
local heartbeat, turn = KEYS[1], KEYS[2]
local number = ARGV[1]

if redis.call('GET', heartbeat) == 'fenced' then
  return {'fenced'}
end
-- SHUT:LAST: the largest number that is shut out, and the last turn that was applied; a turn leaves SHUT alone.
local shut, last = string.match(redis.call('GET', turn) or '0', '^(%d+):?(%d*)$')
if last == '' then
  last = shut
end
if tonumber(shut) < tonumber(number) then
  -- DEL first: a full server allows it.
  redis.call('DEL', turn)
  redis.call('SET', turn, number .. ':' .. last, 'PX', 86400000)
end
local lists = {}
for i = 3, #KEYS do
  lists[i - 2] = redis.call('LRANGE', KEYS[i], 0, -1)
end
return {'ok', tonumber(last), lists}
