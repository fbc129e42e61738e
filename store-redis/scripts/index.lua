-- Puts places into a user's index that is kept on another node than the sessions are, and prolongs it.
--
-- KEYS[1] the index. ARGV[1] for how long in ms. ARGV[2] '1' if a full server has to take it, or ''. Then places. A score is never lowered.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = string.format('%.0f', now + tonumber(ARGV[1]))
if ARGV[2] ~= '' then
    -- A full server refuses a script's first write if that may need memory, and no later one. No place is empty, so this takes none out.
    redis.call('ZREM', KEYS[1], '')
end
for at = 3, #ARGV do
    redis.call('ZADD', KEYS[1], 'GT', due, ARGV[at])
end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then
    redis.call('PEXPIREAT', KEYS[1], due)
end
return 0
