-- Keeps a new record.
--
-- KEYS[1] the session. KEYS[2] the index of its user, if it is kept on this node.
-- ARGV[1] ttl in ms, ARGV[2] its place, ARGV[3] bytes of its data, ARGV[4] its lifetime settings, ARGV[5] its principal or '',
-- then names and values in turn.
-- Answers 0 for new, 1 for taken.
local session = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local deadline = now + tonumber(ARGV[1])

local kind = KEYS[2] and redis.call('TYPE', KEYS[2]).ok
if kind and kind ~= 'none' and kind ~= 'zset' then
    -- Somebody else's key lies where the index should. Better no session than one that no list shows.
    return redis.error_reply('WRONGTYPE the index of a user is no sorted set')
end
if redis.call('EXISTS', session) == 1 then
    -- An expired leftover counts as absent. What cannot be read counts as taken.
    local head = redis.pcall('HGET', session, '')
    local due = type(head) == 'string' and string.match(head, '^1|%d+|%d+|%d+|(%d+)|')
    if not due or tonumber(due) > now then
        return 1
    end
    redis.call('UNLINK', session)
end

local fields = { '', string.format('1|1|%s|%.0f|%.0f|%s', ARGV[3], now, deadline, ARGV[4]) }
if ARGV[5] ~= '' then
    fields[3], fields[4] = '\t', ARGV[5]
end
for at = 6, #ARGV do
    fields[#fields + 1] = ARGV[at]
end
-- `unpack` fills the stack, which holds fewer than 8,000 values.
for at = 1, #fields, 1000 do
    redis.call('HSET', session, unpack(fields, at, math.min(at + 999, #fields)))
end
if KEYS[2] then
    redis.call('ZADD', KEYS[2], string.format('%.0f', deadline), ARGV[2])
    -- Those whose time is over go, so that a user who signs in day after day leaves no trail.
    redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now))
    if redis.call('PTTL', KEYS[2]) < deadline - now then
        redis.call('PEXPIREAT', KEYS[2], string.format('%.0f', deadline + 1000))
    end
end
redis.call('PEXPIREAT', session, string.format('%.0f', deadline))
return 0
