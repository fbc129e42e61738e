-- Ends the sessions of a user whose index is kept on this node, at most 1,000 in one step so that nobody waits long behind it.
--
-- KEYS[1] the index. ARGV[1] prefix, ARGV[2] principal, ARGV[3] the place that is spared, or ''. ARGV[4] '1' if the replicas have to
-- learn of it, or ''. Answers { how many were live, 1 if more are left else 0 }. Needs no memory, so it works on a full server.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ended, gone = 0, {}
for _, place in ipairs(redis.call('ZRANGE', KEYS[1], 0, 1000)) do
    if place ~= ARGV[3] then
        local session = ARGV[1] .. place
        local held = redis.pcall('HMGET', session, '', '\t')
        -- What cannot be read is ended as well: it was indexed as the user's.
        if held.err or held[2] == ARGV[2] or not held[1] then
            local due = held[1] and string.match(held[1], '^1|%d+|%d+|%d+|(%d+)|')
            if redis.call('UNLINK', session) == 1 and (not due or tonumber(due) > now) then
                ended = ended + 1
            end
        end
        gone[#gone + 1] = place
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
local left = redis.call('ZCARD', KEYS[1])
if ARGV[3] ~= '' and redis.call('ZSCORE', KEYS[1], ARGV[3]) then
    left = left - 1
end
return { ended, left > 0 and 1 or 0 }
