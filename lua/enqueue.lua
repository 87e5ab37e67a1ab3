-- enqueue: pushes all payloads onto the queue, or none; once per call number, however often it is sent.
-- KEYS: sent, queues, queue
-- ARGV: number, mark_ms, name, payloads...
-- Returns: how many were pushed; 0 when this call number was applied before
-- Twice: the call number of the producer is remembered; a number that is not newer pushes nothing
local sent, queues, queue = KEYS[1], KEYS[2], KEYS[3]
local number, mark_ms, name = tonumber(ARGV[1]), ARGV[2], ARGV[3]

if number <= tonumber(redis.call('GET', sent) or 0) then
  return 0
end
-- First write: a full server refuses it, and with it the whole call.
redis.call('LPUSH', queue, unpack(ARGV, 4))
redis.call('SET', sent, number, 'PX', mark_ms)
redis.call('SADD', queues, name)
return #ARGV - 3
