-- turn: one step of a worker process, applied as a whole or not at all: settle what ended, then claim what fits.
-- KEYS: heartbeat, turn, crashes, paused, retry, dead, processed, processed_today, failed, failed_today, trimmed,
--   public..., private...
-- ARGV: number, capacity, max_bytes, now, dead_before, dead_limit, order_count, ack_count, rest...
-- Returns: {'fenced'} for a condemned identity; {'stale', last} when the number is not newer than the last one;
--   else {'ok', refused, claims, emptied, paused, lengths, crashed, trimmed}. refused: positions (from 1) of the
--   settles that removed nothing; claims: queue index, payload, ...; emptied: the indexes of the queues that were
--   seen to the end; paused: those of the queues that were passed over; lengths: of each private list; crashed: how
--   many jobs have a crash on record; trimmed: how many dead jobs fell to the limits.
--   rest: the order (queue indexes from 1), the names of these queues, the share of each and the most to claim from
--   each, the acks (index, payload, jid), the other settles (kind, index, payload, replacement, score, jid), kind one
--   of retry, bury, drop, release. First each queue gives its share, then what is left is claimed in the order, up to
--   the first queue that has given its most and may hold more.
-- Twice: the second call has the same number and is refused as stale
local heartbeat, turn, crashes, paused, retry, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local processed, processed_today, failed, failed_today, trimmed = KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local number, capacity, max_bytes = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local now, dead_before, dead_limit = ARGV[4], ARGV[5], tonumber(ARGV[6])
local order_count, ack_count = tonumber(ARGV[7]), tonumber(ARGV[8])
local fixed_keys, fixed_args, day_stat_ms = 11, 8, '157680000000'
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
local needed = {}
for at = fixed_args + 4 * order_count + 3 * ack_count, #ARGV - 1, 6 do
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

local at = fixed_args + 4 * order_count
for i = 1, ack_count do
  local private = KEYS[fixed_keys + queues + tonumber(ARGV[at + 1])]
  if call('LREM', private, -1, ARGV[at + 2]) == 1 then
    done = done + 1
    clear(ARGV[at + 3])
  else
    refused[#refused + 1] = i
  end
  at = at + 3
end

local position = ack_count
while at < #ARGV do
  local kind, index, payload = ARGV[at + 1], tonumber(ARGV[at + 2]), ARGV[at + 3]
  local replacement, score, jid = ARGV[at + 4], ARGV[at + 5], ARGV[at + 6]
  at, position = at + 6, position + 1
  if call('LREM', KEYS[fixed_keys + queues + index], -1, payload) == 0 then
    refused[#refused + 1] = position
  elseif kind == 'release' then
    call('RPUSH', KEYS[fixed_keys + index], payload)
  else
    done, fails = done + 1, fails + 1
    if kind == 'retry' then
      call('ZADD', retry, score, replacement)
    else
      clear(jid)
      if kind == 'bury' then
        call('ZADD', dead, now, replacement)
        buried = buried + 1
      end
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

local cut = 0
if buried > 0 then
  cut = #call('ZRANGEBYSCORE', dead, '-inf', '(' .. dead_before, 'LIMIT', 0, 1000)
  cut = math.max(cut, math.min(call('ZCARD', dead) - dead_limit, 1000))
  if cut > 0 then
    call('ZREMRANGEBYRANK', dead, 0, cut - 1)
    call('INCRBY', trimmed, cut)
  end
end

local claims, emptied, skipped, given, over = {}, {}, {}, {}, {}

-- Claims from the queue at this place of the order until it has given so many in all; true if there is no more.
local function claim(i, most)
  local index = tonumber(ARGV[fixed_args + i])
  local public, private = KEYS[fixed_keys + index], KEYS[fixed_keys + queues + index]
  given[i] = given[i] or 0
  while not over[i] and given[i] < most and capacity > 0 and max_bytes > 0 do
    local payload = call('LMOVE', public, private, 'RIGHT', 'LEFT')
    if payload then
      claims[#claims + 1] = index
      claims[#claims + 1] = payload
      given[i], capacity, max_bytes = given[i] + 1, capacity - 1, max_bytes - #payload
    else
      over[i] = true
      emptied[#emptied + 1] = index
    end
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
return {'ok', refused, claims, emptied, skipped, lengths, crashed, cut}
