-- Puts a place into a user's index that is kept on another node than the sessions are, and prolongs it.
--
-- KEYS[1] the index. ARGV[1] for how long in ms. ARGV[2] '1' if a server that is full is to refuse it, or ''. ARGV[3] the place.
-- A score is never lowered. What has been overdue for a day goes unseen: its session died long ago, by any clock.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = string.format('%.0f', now + tonumber(ARGV[1]))
if ARGV[2] == '' then
    -- A full server refuses a script's first write if that may need memory, and no later one. No place has this name.
    redis.call('ZREM', KEYS[1], '')
end
redis.call('ZADD', KEYS[1], 'GT', due, ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - 86400000))
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then
    redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', due + 1000))
end
return 0
