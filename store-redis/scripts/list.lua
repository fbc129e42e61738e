-- The live sessions of a user whose index is kept on this node.
--
-- KEYS[1] the index. ARGV[1] prefix, ARGV[2] principal. Answers { now in ms, place, head, place, head, … }.
-- Entries whose session expired, was evicted or is somebody else's are dropped on the way.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
local listed = { now }
for _, place in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    local held = redis.pcall('HMGET', ARGV[1] .. place, '', '\t')
    local due = string.match(held[1] or '', '^1|%d+|%d+|%d+|(%d+)|')
    if due and held[2] == ARGV[2] and tonumber(due) > now then
        listed[#listed + 1] = place
        listed[#listed + 1] = held[1]
    elseif not held.err and (due or redis.call('EXISTS', ARGV[1] .. place) == 0) then
        redis.call('ZREM', KEYS[1], place)
    end
end
return listed
