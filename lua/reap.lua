-- reap: moves one batch of a condemned identity's private list back, oldest job foremost, and counts crashes.
-- KEYS: heartbeat, private, public, quarantine, dead, crashes, trimmed
-- ARGV: items, max_bytes, crash_limit, window_s, dead_limit, dead_for_s, reason, started...
-- Returns: {'alive'} if the identity is not condemned; else {'ok', left, public, quarantined, buried}: how many are
--   left in the list, and the payloads of this batch by where they went
--   started: the ids of the jobs whose start counts as a crash; reason: a JSON string, the buried job's message
-- Twice: what was moved is no longer in the list
local heartbeat, private, public, quarantine, dead, crashes = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local trimmed = KEYS[7]
local items, max_bytes, crash_limit = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local window_s, dead_limit, dead_for_s, reason = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local call = redis.call

if call('GET', heartbeat) ~= 'fenced' then
  return {'alive'}
end
local time = call('TIME')
local now = tonumber(time[1])
local started = {}
for i = 8, #ARGV do
  started[ARGV[i]] = true
end
local asked = #ARGV > 7 or call('HLEN', crashes) > 0

-- Decide first, write after: there is no rollback.
local function id_of(payload)
  local fine, job = pcall(cjson.decode, payload)
  if fine and type(job) == 'table' and type(job.jid) == 'string' and job.jid ~= '' then
    return job.jid, true
  end
  -- Other readers accept what this one does not (half a character, deep nesting): they know the job by its id.
  local hash = redis.sha1hex(payload)
  local seen = not fine and string.match(payload, '"jid"%s*:%s*"([^"\\]+)"')
  if seen and not started[hash] and (started[seen] or call('HEXISTS', crashes, seen) == 1) then
    return seen, false
  end
  return hash, fine and type(job) == 'table'
end

local function judge(payload)
  local step = {payload = payload, count = 0}
  if asked then
    local jid, whole = id_of(payload)
    local count, since = string.match(call('HGET', crashes, jid) or '', '^(%d+):(%d+)$')
    count, since = tonumber(count or 0), tonumber(since or 0)
    if now - since > window_s then
      count = 0
    end
    if started[jid] then
      count = count + 1
      since = count == 1 and now or since
      step.record = count .. ':' .. string.format('%.0f', since)
    end
    step.jid, step.count, step.whole = jid, count, whole
  end
  return step
end

local plan = {}
while #plan < items and max_bytes > 0 do
  -- A few at a time: a thousand large payloads at once would fill the interpreter's memory.
  local few = call('LRANGE', private, #plan, math.min(#plan + 20, items) - 1)
  if #few == 0 then
    break
  end
  for _, payload in ipairs(few) do
    if max_bytes > 0 then
      plan[#plan + 1] = judge(payload)
      max_bytes = max_bytes - #payload
    end
  end
end

-- First write: PEXPIRE is allowed on a full server; it also keeps the verdict while there is something to sweep.
call('PEXPIRE', heartbeat, 86400000)
local moved, quarantined, buried = {}, {}, {}
for _, step in ipairs(plan) do
  if step.record and step.count >= crash_limit then
    local text = step.payload
    local head = string.match(text, '^(%s*{.*})%s*$')
    if head and step.whole then
      -- Spliced as text, so that every byte of the job stays. Of a key that comes twice, readers take the last.
      text = string.sub(head, 1, -2) .. (string.match(head, '^%s*{%s*}$') and '' or ',')
        .. '"error_class":"Crashed","error_message":' .. reason .. ',"failed_at":' .. now .. '.0}'
    end
    call('ZADD', dead, now, text)
    call('LPOP', private)
    call('HDEL', crashes, step.jid)
    buried[#buried + 1] = text
  elseif step.count >= 2 then
    call('LMOVE', private, quarantine, 'LEFT', 'RIGHT')
    quarantined[#quarantined + 1] = step.payload
  else
    call('LMOVE', private, public, 'LEFT', 'RIGHT')
    moved[#moved + 1] = step.payload
  end
  if step.record and step.count < crash_limit then
    call('HSET', crashes, step.jid, step.record)
  end
end
if #buried > 0 then
  local cut = #call('ZRANGEBYSCORE', dead, '-inf', '(' .. string.format('%.0f', now - dead_for_s), 'LIMIT', 0, 1000)
  cut = math.max(cut, math.min(call('ZCARD', dead) - dead_limit, 1000))
  if cut > 0 then
    call('ZREMRANGEBYRANK', dead, 0, cut - 1)
    call('INCRBY', trimmed, cut)
  end
end
return {'ok', call('LLEN', private), moved, quarantined, buried}
