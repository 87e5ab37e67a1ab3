-- turn: one step of a worker process, applied as a whole or not at all: settle what ended, then claim what fits.
-- KEYS: heartbeat, turn, crashes, paused, retry, dead, processed, processed_today, failed, failed_today, trimmed,
--   public..., private...
-- ARGV: number, capacity, max_bytes, now, dead_before, dead_limit, order_count, ack_groups, rest...
-- Returns: {'fenced'} for a condemned identity; {'stale', last} when the number is not newer than the last one;
--   else {'ok', refused, claims, emptied, paused, lengths, crashed, trimmed}. refused: positions (from 1) of the
--   settles that removed nothing; claims: groups of {queue index, payload, ...}; emptied: the indexes of the queues
--   that were seen to the end; paused: those of the queues that were passed over; lengths: of each private list;
--   crashed: how many jobs have a crash on record; trimmed: how many dead jobs fell to the limits.
--   rest: the order (queue indexes from 1), the names of these queues, the share of each and the most to claim from
--   each, the groups of acks (index, count, a JSON list of jids, payload, ...), the other settles (kind, index,
--   payload, replacement, score, jid), kind one of retry, bury, drop, release. First each queue gives its share, then
--   what is left is claimed in the order, up to the first queue that has given its most and may hold more.
-- Twice: the second call has the same number and is refused as stale
local heartbeat, turn, crashes, paused, retry, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local processed, processed_today, failed, failed_today, trimmed = KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local number, capacity, max_bytes = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local now, dead_before, dead_limit = ARGV[4], ARGV[5], tonumber(ARGV[6])
local order_count, ack_groups = tonumber(ARGV[7]), tonumber(ARGV[8])
local fixed_keys, fixed_args, day_stat_ms = 11, 8, '157680000000'
-- From so many on they are moved together; at most so many are read at a time; so many older ones may be left out.
local few, chunk, stragglers = 4, 64, 16
local queues = (#KEYS - fixed_keys) / 2
local call = redis.call

if call('GET', heartbeat) == 'fenced' then
  return {'fenced'}
end
local last = tonumber(string.match(call('GET', turn) or '0', '^%d+'))
if number <= last then
  return {'stale', last}
end
-- There is no rollback: what could fail after a job was removed is looked at before.
local crashed = call('HLEN', crashes)
local needed, others = {}, fixed_args + 4 * order_count
for _ = 1, ack_groups do
  others = others + 3 + tonumber(ARGV[others + 2])
end
for at = others, #ARGV - 1, 6 do
  local kind = ARGV[at + 1]
  if kind == 'release' then
    needed[KEYS[fixed_keys + tonumber(ARGV[at + 2])]] = {'list', 'list'}
  elseif kind ~= 'drop' then
    needed[kind == 'retry' and retry or dead] = {'zset', 'sorted set'}
  end
end
for key, wanted in pairs(needed) do
  local kind = call('TYPE', key).ok
  if kind ~= wanted[1] and kind ~= 'none' then
    return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. kind .. ', reliq keeps a ' .. wanted[2] .. ' there')
  end
end
-- First write: DEL is allowed on a full server, and opens the way for the rest.
call('DEL', turn)
call('SET', turn, ARGV[1], 'PX', 86400000)

local refused, done, fails, buried = {}, 0, 0, 0

local function clear(jid)
  if crashed > 0 then
    call('HDEL', crashes, jid)
  end
end

-- Removes those of the payloads from `first` to `to` that lie together at the end of a private list, where what was
-- claimed first is: far less work than a search for each. Returns how many times each is still to be removed, and how
-- many that are in all.
local function cut(private, first, to)
  local left, missing = {}, to - first + 1
  for i = first, to do
    left[ARGV[i]] = (left[ARGV[i]] or 0) + 1
  end
  local tail, back, reach, kept = call('LRANGE', private, -missing - stragglers, -1), {}, 0, 0
  local i = #tail
  while i > 0 and missing > 0 do
    local times = left[tail[i]] or 0
    if times > 0 then
      left[tail[i]], missing, reach, kept = times - 1, missing - 1, #tail - i + 1, #back
    else
      back[#back + 1] = tail[i]
    end
    i = i - 1
  end
  if kept > 0 then
    -- Whoever may not do both is told so while each is there once: a list is not changed by the first, and the copy
    -- that the second makes goes with the rest.
    call('LTRIM', private, 0, -1)
    call('RPUSH', private, back[1])
    reach = reach + 1
  end
  if reach > 0 then
    call('LTRIM', private, 0, -reach - 1)
    for straggler = kept, 1, -1 do
      call('RPUSH', private, back[straggler])
    end
  end
  return left, missing
end

local at, position = fixed_args + 4 * order_count, 0
for _ = 1, ack_groups do
  local private, amount = KEYS[fixed_keys + queues + tonumber(ARGV[at + 1])], tonumber(ARGV[at + 2])
  local jids, left, missing = crashed > 0 and cjson.decode(ARGV[at + 3]), nil, amount
  at = at + 3
  if amount >= few then
    left, missing = cut(private, at + 1, at + amount)
  end
  done = done + amount - missing
  for i = 1, (missing > 0 or jids) and amount or 0 do
    local payload, gone = ARGV[at + i], true
    if not left or left[payload] > 0 then
      gone = call('LREM', private, -1, payload) == 1
      if left then
        left[payload] = left[payload] - 1
      end
      if gone then
        done = done + 1
      else
        refused[#refused + 1] = position + i
      end
    end
    if gone and jids then
      clear(jids[i])
    end
  end
  at, position = at + amount, position + amount
end

while at < #ARGV do
  local kind, index, payload = ARGV[at + 1], tonumber(ARGV[at + 2]), ARGV[at + 3]
  local replacement, score, jid = ARGV[at + 4], ARGV[at + 5], ARGV[at + 6]
  local private = KEYS[fixed_keys + queues + index]
  at, position = at + 6, position + 1
  if not call('LPOS', private, payload, 'RANK', -1) then
    refused[#refused + 1] = position
  else
    if kind == 'retry' then
      call('ZADD', retry, score, replacement)
    elseif kind == 'bury' then
      call('ZADD', dead, now, replacement)
      buried = buried + 1
    elseif kind == 'release' then
      call('RPUSH', KEYS[fixed_keys + index], payload)
    end
    call('LREM', private, -1, payload)
    if kind ~= 'release' then
      done, fails = done + 1, fails + 1
    end
    if kind == 'bury' or kind == 'drop' then
      clear(jid)
    end
  end
end

local function count(total, today, amount)
  if amount > 0 then
    call('INCRBY', total, amount)
    if call('INCRBY', today, amount) == amount then
      call('PEXPIRE', today, day_stat_ms)
    end
  end
end
count(processed, processed_today, done)
count(failed, failed_today, fails)

local fallen = 0
if buried > 0 then
  fallen = #call('ZRANGEBYSCORE', dead, '-inf', '(' .. dead_before, 'LIMIT', 0, 1000)
  fallen = math.max(fallen, math.min(call('ZCARD', dead) - dead_limit, 1000))
  if fallen > 0 then
    call('ZREMRANGEBYRANK', dead, 0, fallen - 1)
    call('INCRBY', trimmed, fallen)
  end
end

local claims, emptied, skipped, given, over = {}, {}, {}, {}, {}

-- Moves the oldest job; returns it in a list, and true if there is none.
local function move_one(public, private)
  local payload = call('LMOVE', public, private, 'RIGHT', 'LEFT')
  return {payload or nil}, not payload
end

-- Moves up to so many, as far as the bytes reach: three commands instead of one each. Returns the same.
local function move_many(public, private, many)
  local tail, moved, room = call('LRANGE', public, -many, -1), {}, max_bytes
  while #moved < #tail and room > 0 do
    moved[#moved + 1] = tail[#tail - #moved]
    room = room - #moved[#moved]
  end
  if #moved > 0 then
    -- Whoever may not do this is told so before there are two of each: it changes nothing.
    call('LTRIM', public, 0, -1)
    call('LPUSH', private, unpack(moved))
    call('LTRIM', public, 0, -#moved - 1)
  end
  return moved, #moved == #tail and #moved < many
end

-- Claims from the queue at this place of the order until it has given so many in all; true if there is no more.
local function claim(i, most)
  local index = tonumber(ARGV[fixed_args + i])
  local public, private = KEYS[fixed_keys + index], KEYS[fixed_keys + queues + index]
  local group, size = {index}, math.huge
  given[i] = given[i] or 0
  while not over[i] and given[i] < most and capacity > 0 and max_bytes > 0 do
    -- Many only after one that shows what size to expect: what is read and does not fit was read in vain.
    local many = math.min(most - given[i], capacity, chunk, math.floor(max_bytes / size))
    local moved, ended = (many < few and move_one or move_many)(public, private, many)
    for _, payload in ipairs(moved) do
      group[#group + 1], size, max_bytes = payload, #payload, max_bytes - #payload
    end
    given[i], capacity = given[i] + #moved, capacity - #moved
    if ended then
      over[i] = true
      emptied[#emptied + 1] = index
    end
  end
  if #group > 1 then
    claims[#claims + 1] = group
  end
  return over[i]
end

if capacity > 0 and order_count > 0 then
  local resting = call('SMISMEMBER', paused, unpack(ARGV, fixed_args + order_count + 1, fixed_args + 2 * order_count))
  for i = 1, order_count do
    local share = tonumber(ARGV[fixed_args + 2 * order_count + i])
    if share > 0 and resting[i] == 0 then
      claim(i, share)
    end
  end
  for i = 1, order_count do
    if capacity <= 0 or max_bytes <= 0 then
      break
    end
    if resting[i] == 1 then
      skipped[#skipped + 1] = tonumber(ARGV[fixed_args + i])
    elseif not claim(i, tonumber(ARGV[fixed_args + 3 * order_count + i])) then
      break
    end
  end
end

local lengths = {}
for i = 1, queues do
  lengths[i] = call('LLEN', KEYS[fixed_keys + queues + i])
end
return {'ok', refused, claims, emptied, skipped, lengths, crashed, fallen}
