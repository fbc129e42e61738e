-- Puts a session into a user's index that is on another node than the session.
--
-- KEYS[1] the index. ARGV[1] for how long in ms. ARGV[2] the key. ARGV[3] '1' if a server that is full is to refuse it, or ''.
local now, refusal = clock(), obstacle(KEYS[1])
if refusal then
    return refusal
end
if ARGV[3] == '' then
    -- A full server refuses a script's first write if that may need memory, and no later one. No entry has this name.
    redis.call('ZREM', KEYS[1], '')
end
-- Nodes have clocks of their own. What stopped to count a day ago died long ago, by any clock.
enter(KEYS[1], ARGV[2], now + tonumber(ARGV[1]), now, now - 86400000)
return 0
