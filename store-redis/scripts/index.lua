-- Puts places into a user's index that is kept on another node than the sessions are, and prolongs it.
--
-- KEYS[1] the index. ARGV[1] for how long in ms, then places. A score is never lowered.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = string.format('%.0f', now + tonumber(ARGV[1]))
for at = 2, #ARGV do
    redis.call('ZADD', KEYS[1], 'GT', due, ARGV[at])
end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then
    redis.call('PEXPIREAT', KEYS[1], due)
end
return 0
