-- show_work: what the process runs right now appears in Sidekiq's own view.
-- KEYS: heartbeat, work
-- ARGV: shown_ms, entries...
-- Returns: 1; 0 for a condemned identity, whose last view the reaper still needs. Entries: thread id, JSON text
-- Twice: it writes the same again
local heartbeat, work = KEYS[1], KEYS[2]
local shown_ms = ARGV[1]

if redis.call('GET', heartbeat) == 'fenced' then
  return 0
end
-- First write: DEL is allowed on a full server.
redis.call('DEL', work)
if #ARGV > 1 then
  redis.call('HSET', work, unpack(ARGV, 2))
  redis.call('PEXPIRE', work, shown_ms)
end
return 1
