-- Ends sessions of a user whose index is on this node. One call handles the next 1,000 entries, so
-- that other calls wait only briefly. This needs no memory, so it works on a full server.
--
-- KEYS[1] the index
-- ARGV  1 the start of the names of all sessions     2 the principal
--       3 the key to keep, or ''                     4 '1' if the caller waits for replicas, or ''
--       5 the last key that was visited, or ''
-- Answer: { number of sessions that were live, the last key visited, or '' at the end }
local now, ended, last, gone = server_time(), 0, '', {}
local from = ARGV[5] == '' and '-' or '(' .. ARGV[5] .. '\n'
local entries = redis.call('ZRANGE', KEYS[1], from, '+', 'BYLEX', 'LIMIT', 0, 1000)
for _, entry in ipairs(entries) do
    last = string.match(entry, '^([^\t]*)')
    if ARGV[3] == '' or last ~= ARGV[3] then
        local session = ARGV[1] .. last
        local stored = redis.pcall('HMGET', session, '', '\t')
        -- An unreadable record ends as well, because the index lists it for this user.
        if stored.err or stored[2] == ARGV[2] or not stored[1] then
            local deadline = read_head(stored[1])
            local existed = redis.call('UNLINK', session) == 1
            if existed and (not deadline or not is_expired(deadline, now)) then
                ended = ended + 1
            end
        end
        gone[#gone + 1] = entry
    end
end
if #gone > 0 then
    redis.call('ZREM', KEYS[1], unpack(gone))
elseif ARGV[4] ~= '' then
    -- A call whose answer was lost may have ended the sessions. WAIT waits for the last write of
    -- its connection, so the script has to write something. A full server refuses only the first
    -- write of a script, and only if that write may need memory: ZREM goes first.
    redis.call('ZREM', KEYS[1], '')
    redis.call('ZADD', KEYS[1], 0, '')
    redis.call('ZREM', KEYS[1], '')
end
return { ended, #entries == 1000 and last or '' }
