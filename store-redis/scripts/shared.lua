-- Functions of several scripts. The text of `head.lua` comes before this one.

-- The layout of the field '\2': generation, since, and the time of the last rotation. A session
-- that was never rotated and is at generation 0 does not have this field.
local ROTATED = '>I4I4i6'

-- The server's time in ms.
local function server_time()
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The parts of a head, from the deadline on, or nothing if the head is unreadable.
local function read_head(head)
    if type(head) == 'string' and #head == 31 and string.byte(head) == 2 then
        return select(2, struct.unpack(HEAD, head))
    end
end

-- The record whose fields '', '\1', '\2', '\t' and '\4' are `stored`, or nil if it is unreadable.
local function read_record(stored)
    local deadline, created, authenticated, version, bytes, attributes_bytes = read_head(stored[1])
    local rotated, principal, attributes = stored[3], stored[4] or '', stored[5] or ''
    local readable = deadline and version > 0 and version <= 9007199254740992
    readable = readable and #attributes == attributes_bytes
    readable = readable and #(stored[2] or '') == 32 and (not rotated or #rotated == 14)
    if not readable or (principal == '') ~= (authenticated == 0) then
        return nil
    end
    local generation, since, rotated_at = 0, 0, created
    if rotated then
        generation, since, rotated_at = struct.unpack(ROTATED, rotated)
    end
    return {
        deadline = deadline, created = created, authenticated = authenticated, version = version,
        bytes = bytes, secret = stored[2], generation = generation, since = since,
        rotated = rotated_at, principal = principal, attributes = attributes,
    }
end

-- Splits the name of a session's hash into the prefix and the key. A prefix contains no brace.
local function split_name(session)
    return string.match(session, '^([^}]*)s}(.*)$')
end

-- The error to answer with if the name of an index belongs to a key that is not a sorted set.
-- The sign-in fails then, because no list would show the session.
local function index_conflict(index)
    local kind = redis.call('TYPE', index).ok
    if kind ~= 'none' and kind ~= 'zset' then
        return redis.error_reply('WRONGTYPE the key of a user index is not a sorted set; '
            .. 'delete or rename that key')
    end
end

-- Adds a session to a user's index at least until `deadline`.
--
-- An entry is the key, a tab, and the time in ms until which the entry is valid. All scores are 0,
-- so Redis sorts the entries by key, and a commit moves no entry. The function reads the entries
-- that follow the new one and removes those whose time is before `dead_before`. Keys are random,
-- so in the long run an index has fewer expired entries than live ones.
local function add_entry(index, key, deadline, now, dead_before)
    local entry = key .. '\t' .. string.format('%.0f', deadline)
    local from = '[' .. key .. '\t'
    for _, other in ipairs(redis.call('ZRANGE', index, from, '+', 'BYLEX', 'LIMIT', 0, 4)) do
        local other_key, valid_until = string.match(other, '^(.*)\t(%d+)$')
        if other_key == key and tonumber(valid_until) >= deadline then
            entry = nil
        elseif other_key == key or not other_key or tonumber(valid_until) <= dead_before then
            redis.call('ZREM', index, other)
        end
    end
    if entry then
        redis.call('ZADD', index, 0, entry)
    end
    if redis.call('PTTL', index) < deadline - now then
        redis.call('PEXPIREAT', index, string.format('%.0f', deadline + 1000))
    end
end

-- Removes a session from an index. A key that is not a sorted set stays unchanged.
local function remove_entry(index, key)
    redis.pcall('ZREMRANGEBYLEX', index, '[' .. key .. '\t', '(' .. key .. '\n')
end
