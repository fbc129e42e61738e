-- Ends sessions of a user whose index is on this node: those of the next 1,000 entries, so that no other call waits long behind it. Needs no
-- memory, so it works on a full server.
--
-- KEYS[1] the index. ARGV[1] what sessions' names begin with, ARGV[2] the principal, ARGV[3] the key that is spared, or ''. ARGV[4] '1' if the
-- replicas have to learn of it, or ''. ARGV[5] the last key that was visited, or ''.
-- Answers { how many were live, the last key visited, or '' at the end }.
local now, ended, last, gone = clock(), 0, '', {}
local entries = redis.call('ZRANGE', KEYS[1], ARGV[5] == '' and '-' or '(' .. ARGV[5] .. '\n', '+', 'BYLEX', 'LIMIT', 0, 1000)
for _, entry in ipairs(entries) do
    last = string.match(entry, '^([^\t]*)')
    if ARGV[3] == '' or last ~= ARGV[3] then
        local session = ARGV[1] .. last
        local held = redis.pcall('HMGET', session, '', '\t')
        -- A record that cannot be read is ended as well: it was indexed as the user's.
        if held.err or held[2] == ARGV[2] or not held[1] then
            local due = opened(held[1])
            if redis.call('UNLINK', session) == 1 and (not due or due > now) then
                ended = ended + 1
            end
        end
        gone[#gone + 1] = entry
    end
end
if #gone > 0 then
    redis.call('ZREM', KEYS[1], unpack(gone))
elseif ARGV[4] ~= '' then
    -- Perhaps a call whose answer was lost ended them. WAIT waits for this connection's last write, so there has to be one.
    -- A full server refuses a first write that may need memory, and no later one.
    redis.call('ZREM', KEYS[1], '')
    redis.call('ZADD', KEYS[1], 0, '')
    redis.call('ZREM', KEYS[1], '')
end
return { ended, #entries == 1000 and last or '' }
