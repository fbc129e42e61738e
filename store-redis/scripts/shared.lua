-- What several scripts share.

-- A record's head: format 2, deadline, creation and authentication (0 for none) in ms, version, bytes of data, bytes of the attributes.
local HEAD = '>Bi6i6i6I7I4B'
-- Generation and since, and when the secret was rotated last. A session that was never rotated and is at generation 0 has no such field.
local ROTATED = '>I4I4i6'

-- The server's time in ms.
local function clock()
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The parts of a head, from the deadline on. Nothing if it cannot be read.
local function opened(head)
    if type(head) == 'string' and #head == 31 and string.byte(head) == 2 then
        return select(2, struct.unpack(HEAD, head))
    end
end

-- The record whose fields '', '\1', '\2', '\t' and '\4' are `held`. Nothing if it cannot be read.
local function record(held)
    local due, created, authenticated, version, bytes, attributed = opened(held[1])
    local rotated, principal, attributes = held[3], held[4] or '', held[5] or ''
    local readable = due and version > 0 and version <= 9007199254740992 and #attributes == attributed
    readable = readable and #(held[2] or '') == 32 and (not rotated or #rotated == 14)
    if not readable or (principal == '') ~= (authenticated == 0) then
        return nil
    end
    local generation, since, rotated_at = 0, 0, created
    if rotated then
        generation, since, rotated_at = struct.unpack(ROTATED, rotated)
    end
    return {
        due = due, created = created, authenticated = authenticated, version = version, bytes = bytes, secret = held[2],
        generation = generation, since = since, rotated = rotated_at, principal = principal, attributes = attributes,
    }
end

-- The prefix of all names and the session's key, out of the session's name. No prefix has a brace.
local function parts(session)
    return string.match(session, '^([^}]*)s}(.*)$')
end

-- The error to answer with if a key that is no sorted set has the name of an index. Better no sign-in than a session that no list shows.
local function obstacle(index)
    local kind = redis.call('TYPE', index).ok
    if kind ~= 'none' and kind ~= 'zset' then
        return redis.error_reply('WRONGTYPE the key of a user index holds no sorted set; delete or rename that key')
    end
end

-- Puts a session into a user's index for at least until `due`.
--
-- An entry is the key, a tab and the time in ms until which it counts. All scores are 0, so entries are in the order of keys, and no commit
-- moves one. Of the entries that follow this one, those go that stopped to count before `dead_before`. Keys are random, so in the long run
-- fewer dead entries stay than there are live ones.
local function enter(index, key, due, now, dead_before)
    local entry = key .. '\t' .. string.format('%.0f', due)
    for _, other in ipairs(redis.call('ZRANGE', index, '[' .. key .. '\t', '+', 'BYLEX', 'LIMIT', 0, 4)) do
        local of, till = string.match(other, '^(.*)\t(%d+)$')
        if of == key and tonumber(till) >= due then
            entry = nil
        elseif of == key or not of or tonumber(till) <= dead_before then
            redis.call('ZREM', index, other)
        end
    end
    if entry then
        redis.call('ZADD', index, 0, entry)
    end
    if redis.call('PTTL', index) < due - now then
        redis.call('PEXPIREAT', index, string.format('%.0f', due + 1000))
    end
end

-- Takes a session out of an index. What is no sorted set lists no session.
local function leave(index, key)
    redis.pcall('ZREMRANGEBYLEX', index, '[' .. key .. '\t', '(' .. key .. '\n')
end
