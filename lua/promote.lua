-- promote: moves due jobs from a sorted set to their queues, each one only if it is still there and still due.
-- KEYS: source, queues, dead, target...
-- ARGV: now, name_count, rest...
-- Returns: how many were moved
--   rest: the names of the targets, then member, payload, target index (from 1; 0 sends it to the dead set), ...
-- Twice: what was moved is no longer in the source
local source, queues, dead = KEYS[1], KEYS[2], KEYS[3]
local now, name_count = ARGV[1], tonumber(ARGV[2])

-- A target that is no list takes no jobs: they go to the dead set, where somebody sees them.
local fits = {}
for i = 4, #KEYS do
  local kind = redis.call('TYPE', KEYS[i]).ok
  fits[i - 3] = kind == 'list' or kind == 'none'
end
local moved, used = 0, {}
-- First write: PERSIST is allowed on a full server, and opens the way for the rest.
redis.call('PERSIST', source)
for at = 3 + name_count, #ARGV, 3 do
  local member, payload, index = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  local score = redis.call('ZSCORE', source, member)
  if score and tonumber(score) <= tonumber(now) then
    -- The copy first: an error between the two must leave two copies of a job, never none.
    if not fits[index] then
      redis.call('ZADD', dead, now, payload)
    else
      redis.call('LPUSH', KEYS[3 + index], payload)
      used[index] = true
    end
    redis.call('ZREM', source, member)
    moved = moved + 1
  end
end
for index in pairs(used) do
  redis.call('SADD', queues, ARGV[2 + index])
end
return moved
