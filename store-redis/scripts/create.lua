-- Stores a new record.
--
-- KEYS[1] the session's hash
-- ARGV  1 ttl in ms          2 age in ms            3 age of the authentication in ms, or ''
--       4 version            5 bytes of data        6 hash of the secret
--       7 generation         8 since                9 attributes
--      10 principal, or ''  11 '1' if this node has the indexes, or ''
-- After that: name and value of each value.
-- Answer: 0 if the record is new, 1 if the key is taken.
local session = KEYS[1]
local prefix, key = split_name(session)
local now = server_time()
local deadline, created, principal = now + tonumber(ARGV[1]), now - tonumber(ARGV[2]), ARGV[10]
local index = ARGV[11] ~= '' and principal ~= '' and prefix .. 'u}' .. principal
local refusal = index and index_conflict(index)
if refusal then
    return refusal
end
if redis.call('EXISTS', session) == 1 then
    -- An expired record that is still stored counts as absent. An unreadable one counts as taken.
    local stored = redis.pcall('HMGET', session, '')
    local stored_deadline = read_head(stored[1])
    if not stored_deadline or not is_expired(stored_deadline, now) then
        return 1
    end
    redis.call('UNLINK', session)
end

local authenticated = ARGV[3] == '' and 0 or now - tonumber(ARGV[3])
local head = struct.pack(HEAD, 2, deadline, created, authenticated, tonumber(ARGV[4]),
    tonumber(ARGV[5]), #ARGV[9])
local fields = { '', head, '\1', ARGV[6] }
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
-- `unpack` fills Lua's stack, which holds fewer than 8,000 values.
for at = 1, #fields, 1000 do
    redis.call('HSET', session, unpack(fields, at, math.min(at + 999, #fields)))
end
if index then
    add_entry(index, key, deadline, now, now)
end
-- The last write: if the deadline has passed meanwhile, PEXPIREAT deletes the key, and a later
-- write would create a part of it again.
redis.call('PEXPIREAT', session, string.format('%.0f', deadline))
return 0
