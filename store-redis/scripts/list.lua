-- Lists the live sessions of a user whose index is on this node. One call visits the next entries.
--
-- KEYS[1] the index
-- ARGV  1 the start of the names of all sessions     2 the principal
--       3 the last key that was visited, or ''       4 the number of entries to visit
-- Answer: { now in ms, the last key visited, or '' at the end, then key, head and attributes of
--           each session }
-- An entry is removed if its session has expired, was evicted, or belongs to another user.
local now, last = server_time(), ''
local from = ARGV[3] == '' and '-' or '(' .. ARGV[3] .. '\n'
local entries = redis.call('ZRANGE', KEYS[1], from, '+', 'BYLEX', 'LIMIT', 0, ARGV[4])
local listed = { now, '' }
for _, entry in ipairs(entries) do
    last = string.match(entry, '^([^\t]*)')
    local stored = redis.pcall('HMGET', ARGV[1] .. last, '', '\t', '\4')
    local deadline = read_head(stored[1])
    if deadline and stored[2] == ARGV[2] and not is_expired(deadline, now) then
        listed[#listed + 1], listed[#listed + 2] = last, stored[1]
        listed[#listed + 1] = stored[3] or ''
    elseif not stored.err and (deadline or redis.call('EXISTS', ARGV[1] .. last) == 0) then
        redis.call('ZREM', KEYS[1], entry)
    end
end
if #entries == tonumber(ARGV[4]) then
    listed[2] = last
end
return listed
