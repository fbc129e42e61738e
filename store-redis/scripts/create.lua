-- Keeps a new record.
--
-- KEYS[1] the session. ARGV 1 ttl in ms, 2 age in ms, 3 age of the authentication in ms or '', 4 version, 5 bytes of data, 6 the hash of the
-- secret, 7 generation, 8 since, 9 attributes, 10 principal or '', 11 '1' if indexes are on this node, or ''; then names and values in turn.
-- Answers 0 for new, 1 for taken.
local session = KEYS[1]
local prefix, key = parts(session)
local now = clock()
local due, created, principal = now + tonumber(ARGV[1]), now - tonumber(ARGV[2]), ARGV[10]
local index = ARGV[11] ~= '' and principal ~= '' and prefix .. 'u}' .. principal
local refusal = index and obstacle(index)
if refusal then
    return refusal
end
if redis.call('EXISTS', session) == 1 then
    -- An expired leftover counts as absent. What cannot be read counts as taken.
    local held = redis.pcall('HMGET', session, '')
    local held_due = opened(held[1])
    if not held_due or held_due > now then
        return 1
    end
    redis.call('UNLINK', session)
end

local authenticated = ARGV[3] == '' and 0 or now - tonumber(ARGV[3])
local fields = { '', struct.pack(HEAD, 2, due, created, authenticated, tonumber(ARGV[4]), tonumber(ARGV[5]), #ARGV[9]), '\1', ARGV[6] }
local function add(name, value)
    fields[#fields + 1], fields[#fields + 2] = name, value
end
if ARGV[7] ~= '0' then
    add('\2', struct.pack(ROTATED, tonumber(ARGV[7]), tonumber(ARGV[8]), created))
end
if principal ~= '' then
    add('\t', principal)
end
if ARGV[9] ~= '' then
    add('\4', ARGV[9])
end
for at = 12, #ARGV, 2 do
    add(ARGV[at], ARGV[at + 1])
end
-- `unpack` fills the stack, which holds fewer than 8,000 values.
for at = 1, #fields, 1000 do
    redis.call('HSET', session, unpack(fields, at, math.min(at + 999, #fields)))
end
if index then
    enter(index, key, due, now, now)
end
-- Last: a deadline that has passed meanwhile deletes the key, and a later write would bring back a part of it.
redis.call('PEXPIREAT', session, string.format('%.0f', due))
return 0
