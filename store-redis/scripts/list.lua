-- Live sessions of a user whose index is on this node: those of the next entries.
--
-- KEYS[1] the index. ARGV[1] what sessions' names begin with, ARGV[2] the principal, ARGV[3] the last key that was visited, or '',
-- ARGV[4] how many entries to visit. Answers { now in ms, the last key visited, or '' at the end, key, head, attributes, key, head, … }.
-- Entries go if their session expired, was evicted or belongs to another user.
local now, last = clock(), ''
local entries = redis.call('ZRANGE', KEYS[1], ARGV[3] == '' and '-' or '(' .. ARGV[3] .. '\n', '+', 'BYLEX', 'LIMIT', 0, ARGV[4])
local listed = { now, '' }
for _, entry in ipairs(entries) do
    last = string.match(entry, '^([^\t]*)')
    local held = redis.pcall('HMGET', ARGV[1] .. last, '', '\t', '\4')
    local due = opened(held[1])
    if due and held[2] == ARGV[2] and due > now then
        listed[#listed + 1], listed[#listed + 2], listed[#listed + 3] = last, held[1], held[3] or ''
    elseif not held.err and (due or redis.call('EXISTS', ARGV[1] .. last) == 0) then
        redis.call('ZREM', KEYS[1], entry)
    end
end
if #entries == tonumber(ARGV[4]) then
    listed[2] = last
end
return listed
