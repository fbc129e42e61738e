-- The fast path of a commit that sets one value or adds to one. If anything is unusual, this part
-- changes nothing and the script continues with `commit.lua`.
--
-- KEYS[1] the session's hash
-- ARGV  1 hash of the secret            2 maximum bytes of data
--       3 a time in ms: a session with a later deadline is certainly not expired
--       4 name of the value             5 JSON text or summand
--       6 the version that must match, if any
-- SINGLE is 's' to set the value and 'a' to add to it.
--
-- One thread of the server runs all commits. There TIME takes 0.7 us, and formatting a number takes
-- 0.2 us. Therefore this part avoids both.
-- Local variables are faster than global ones.
local ARGV, session = ARGV, KEYS[1]
local stored = redis.pcall('HMGET', session, '', '\1', ARGV[4])
local head = stored[1]
if head and #head == 31 and stored[2] == ARGV[1] then
    local format, deadline, created, authenticated, version, bytes, attributes_bytes =
        struct.unpack(HEAD, head)
    local now, usual = '\0\0\0\0\0\0', format == 2 and version > 0 and version < 9007199254740992
    if is_expired(deadline, ARGV[3] + 0) then
        local time = redis.call('TIME')
        local millis = time[1] * 1000 + math.floor(time[2] / 1000)
        now, usual = struct.pack('>i6', millis), usual and not is_expired(deadline, millis)
    end
    if ARGV[6] then
        usual = usual and version == tonumber(ARGV[6])
    end
    local attributes = ''
    if attributes_bytes > 0 then
        attributes = redis.call('HGET', session, '\4') or ''
        usual = usual and #attributes == attributes_bytes
    end
    local old, value = stored[3], ARGV[5]
    if SINGLE == 'a' then
        -- Sums of up to 13 digits are exact, and Lua writes them without an exponent.
        usual = usual and #value < 14 and (not old or #old < 14 and string.find(old, '^-?%d+$'))
        value = usual and (old or 0) + value .. '' or value
    end
    if not old or #old ~= #value then
        local before = bytes
        bytes = bytes + #value - (old and #old or -#ARGV[4])
        usual = usual and (bytes <= before or bytes <= ARGV[2] + 0)
    end
    if usual then
        head = struct.pack(HEAD, 2, deadline, created, authenticated, version + 1, bytes,
            attributes_bytes)
        if type(redis.pcall('HSET', session, '', head, ARGV[4], value)) == 'number' then
            if SINGLE == 'a' then
                return '0' .. head .. now .. '\n' .. value .. '\n' .. attributes
            end
            return '0' .. head .. now .. '\n' .. attributes
        end
    end
end
