-- Applies a commit in one step.
--
-- KEYS[1] the session. KEYS[2] the key that it moves to, if it moves.
-- ARGV  1 the version that must hold, or ''        2 new ttl in ms, or ''            3 '1' to drop all values first, or ''
--       4 most bytes of data                       5 '1' if the version grows, or ''
--       6 '=' and new lifetime settings, or ''     7 '=' and the new principal, '-' for none, or '' to keep it
--       8 what an index's name begins with, if indexes are kept on this node, or ''
--       9 '=' and the principal whose index has the final place already, or ''
--      10 its place                               11 its final place
-- then for each change: 's', name, JSON text; 'r', name, ''; 'a', name, summand.
--
-- Answers { 0, version, age, ttl, lifetime settings, former principal or '', sums… }, or one of
-- { 1 } the guard does not hold or the final key is taken      { 2 } gone      { 3 } what is stored cannot be read
-- { 4, n } the n-th name is no integer      { 5, n } its sum leaves 64 bits      { 6, bytes } too large
-- { 7, principal, ms } the index of this principal has to have the final place first, for so long
local session, target = KEYS[1], KEYS[2]
local CHANGES = 12
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Sums of up to 15 digits are exact in a double. Longer ones are added in two halves.
local function halves(digits)
    local sign, size = string.match(digits, '^(-?)(%d+)$')
    if #size > 19 then
        return nil
    end
    size = string.rep('0', 19 - #size) .. size
    local factor = sign == '-' and -1 or 1
    return factor * tonumber(string.sub(size, 1, 9)), factor * tonumber(string.sub(size, 10))
end

-- Whether high * 10^10 + low is an i64.
local function fits(high, low)
    if high ~= 922337203 and high ~= -922337203 then
        return high < 922337203 and high > -922337203
    end
    return low <= 6854775807 and low >= -6854775808
end

-- The sum of two integers as text; nil and 4 if `held` is none, nil and 5 if the sum is none.
local function sum(held, by)
    local digits = string.match(held, '^[ \t\r\n]*(-?%d+)[ \t\r\n]*$')
    if not digits then
        return nil, 4
    end
    if #digits <= 15 and #by <= 15 then
        return string.format('%.0f', digits + by)
    end
    local high, low = halves(digits)
    if not high or not fits(high, low) then
        return nil, 4
    end
    local more_high, more_low = halves(by)
    high, low = high + more_high, low + more_low
    local carry = low >= 10000000000 and 1 or low <= -10000000000 and -1 or 0
    high, low = high + carry, low - carry * 10000000000
    -- Both halves have one sign, so that they can be written one after the other.
    if high > 0 and low < 0 then
        high, low = high - 1, low + 10000000000
    elseif high < 0 and low > 0 then
        high, low = high + 1, low - 10000000000
    end
    if not fits(high, low) then
        return nil, 5
    end
    if high == 0 then
        return string.format('%.0f', low)
    end
    return string.format('%.0f%010.0f', high, math.abs(low))
end

-- What the hash holds under the head, the principal and every changed name, in this order.
local fields = { '', '\t' }
for at = CHANGES, #ARGV, 3 do
    fields[#fields + 1] = ARGV[at + 1]
end
local held = {}
for from = 1, #fields, 1000 do
    local to = math.min(from + 999, #fields)
    local values = redis.pcall('HMGET', session, unpack(fields, from, to))
    if values.err then
        return { 3 }
    end
    for at = from, to do
        held[at] = values[at - from + 1]
    end
end
if not held[1] then
    return redis.call('EXISTS', session) == 1 and { 3 } or { 2 }
end
local version, bytes, created, due, lifetime = string.match(held[1], '^1|(%d+)|(%d+)|(%d+)|(%d+)|([^|]*)$')
if not version then
    return { 3 }
end
local deadline = tonumber(due)
if deadline <= now then
    return { 2 }
end
if ARGV[1] ~= '' and ARGV[1] ~= version then
    return { 1 }
end
if target and redis.call('EXISTS', target) == 1 then
    local head = redis.pcall('HGET', target, '')
    local taken_until = type(head) == 'string' and string.match(head, '^1|%d+|%d+|%d+|(%d+)|')
    if not taken_until or tonumber(taken_until) > now then
        return { 1 }
    end
end

local before = tonumber(bytes)
local cleared = ARGV[3] ~= ''
local after = cleared and 0 or before
local set, removed, sums = {}, {}, {}
for at = CHANGES, #ARGV, 3 do
    local kind, name, value = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    local number = (at - CHANGES) / 3 + 1
    local old = not cleared and held[number + 2]
    if kind == 'a' then
        local total, refusal = sum(old or '0', value)
        if not total then
            return { refusal, number }
        end
        value, sums[#sums + 1] = total, total
    end
    after = after - (old and #name + #old or 0)
    if kind == 'r' then
        removed[#removed + 1] = old and name or nil
    else
        after = after + #name + #value
        set[#set + 1], set[#set + 2] = name, value
    end
end
if after > tonumber(ARGV[4]) and after > before then
    return { 6, after }
end

local former = held[2] or ''
local principal = former
if ARGV[7] == '-' then
    principal = ''
elseif ARGV[7] ~= '' then
    principal = string.sub(ARGV[7], 2)
end
local reindexed = principal ~= '' and (target or principal ~= former or ARGV[2] ~= '')
if ARGV[8] == '' and reindexed and ARGV[9] ~= '=' .. principal then
    return { 7, principal, math.max(deadline - now, tonumber(ARGV[2]) or 0) }
end

-- From here on nothing refuses but a server that is full. It refuses a script's first write if that may need memory, and no later one: a
-- commit that makes the record larger is refused whole, any other passes.
if ARGV[2] ~= '' then
    deadline = now + tonumber(ARGV[2])
end
if ARGV[5] ~= '' then
    version = string.format('%.0f', version + 1)
end
if ARGV[6] ~= '' then
    lifetime = string.sub(ARGV[6], 2)
end
if cleared or ARGV[2] ~= '' or ARGV[5] ~= '' then
    set[#set + 1] = ''
    set[#set + 1] = string.format('1|%s|%.0f|%s|%.0f|%s', version, after, created, deadline, lifetime)
end
if principal ~= '' and (cleared or principal ~= former) then
    set[#set + 1], set[#set + 2] = '\t', principal
elseif principal == '' and former ~= '' then
    removed[#removed + 1] = '\t'
end
local expires = string.format('%.0f', deadline)

local function write()
    for from = 1, #set, 1000 do
        redis.call('HSET', session, unpack(set, from, math.min(from + 999, #set)))
    end
end
local function free()
    for from = 1, #removed, 1000 do
        redis.call('HDEL', session, unpack(removed, from, math.min(from + 999, #removed)))
    end
    if cleared or ARGV[2] ~= '' then
        redis.call('PEXPIREAT', session, expires)
    end
end

if cleared then
    redis.call('UNLINK', session)
end
if cleared or after > before then
    write()
    free()
else
    free()
    write()
end
if target then
    redis.call('RENAME', session, target)
end
if ARGV[8] ~= '' then
    if former ~= '' and (target or principal ~= former) then
        redis.call('ZREM', ARGV[8] .. former, ARGV[10])
    end
    if reindexed then
        local index = ARGV[8] .. principal
        redis.call('ZADD', index, expires, ARGV[11])
        if redis.call('PTTL', index) < deadline - now then
            redis.call('PEXPIREAT', index, expires)
        end
    end
end
return { 0, tonumber(version), now - created, deadline - now, lifetime, former, unpack(sums) }
