-- Adds a session to a user's index that is on another node than the session.
--
-- KEYS[1] the index
-- ARGV  1 how long the entry is valid, in ms     2 the key
--       3 '1' if a full server must refuse the entry, or ''
local now, refusal = server_time(), index_conflict(KEYS[1])
if refusal then
    return refusal
end
if ARGV[3] == '' then
    -- A full server refuses only the first write of a script, and only if that write may need
    -- memory. No entry is empty, so this write changes nothing.
    redis.call('ZREM', KEYS[1], '')
end
-- Each node has its own clock. The session of an entry that became invalid a day ago is expired by
-- every clock.
add_entry(KEYS[1], ARGV[2], now + tonumber(ARGV[1]), now, now - 86400000)
return 0
