-- Applies a commit in one step.
--
-- KEYS[1] the session. KEYS[2] the key that it moves to, if it moves.
-- ARGV  1 the version that must hold, or ''        2 most bytes of data               3 '' if nothing but values changes, else
--       4 new ttl in ms, or ''                     5 '1' to drop all values first, or ''
--       6 '1' if the version grows, or ''          7 '=' and new lifetime settings, or ''
--       8 '=' and the new principal, '-' for none, or '' to keep it
--       9 what an index's name begins with, if indexes are kept on this node, or ''
--      10 '=' and the principal whose index has the final place already, or ''
--      11 for how many ms from now the index has it
--      12 its place                               13 its final place
-- then for each change: 's', name, JSON text; 'r', name, ''; 'a', name, summand.
--
-- Most commits change a value or two, and the server has one thread for all of them. Fourteen arguments cost it as much as two HINCRBY, and
-- functions that are made, numbers that are formatted and answers of many parts cost no less; so the common way has few of them.
--
-- Answers with one text of several lines: 0, version, now in seconds and microseconds, creation and deadline in ms, lifetime settings, former
-- principal or '', then the sums; or one of
-- 1: the guard does not hold or the final key is taken      2: gone      3: what is stored cannot be read
-- 4, n: the n-th name is no integer      5, n: its sum leaves 64 bits      6, bytes: too large
-- 7, principal, ms: the index of this principal has to have the final place first, for so long
local session, target = KEYS[1], KEYS[2]
local plain = ARGV[3] == ''
local CHANGES = plain and 4 or 14
local new_ttl, cleared, grows, new_lifetime, new_principal, index_prefix = '', false, true, '', '', ''
if not plain then
    new_ttl, cleared, grows, new_lifetime, new_principal, index_prefix = ARGV[4], ARGV[5] ~= '', ARGV[6] ~= '', ARGV[7], ARGV[8], ARGV[9]
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local HEAD = '^1|(%d+)|(%d+)|(%d+)|(%d+)|([^|]*)$'

-- The commonest commit: one value is set, or added to, and nothing about it is unusual. Anything else goes the long way.
if plain and #ARGV == 6 and ARGV[1] == '' and ARGV[4] ~= 'r' then
    local name, value, sum = ARGV[5], ARGV[6], ''
    local held = redis.pcall('HMGET', session, '', '\t', name)
    local version, bytes, created, due, lifetime = string.match(held[1] or '', HEAD)
    local old = held[3]
    local usual = version and #version < 10 and #bytes < 10 and #created == 13 and #due == 13 and lifetime == '' and due + 0 > now
    if ARGV[4] == 'a' then
        usual = usual and #value < 15 and (not old or #old < 15 and string.find(old, '^-?%d+$'))
        value = usual and string.format('%d', (old or 0) + value)
        sum = usual and '\n' .. value
    end
    local after = usual and bytes + #value - (old and #old or -#name)
    if usual and after <= tonumber(ARGV[2]) then
        version = version + 1
        local head = '1|' .. version .. '|' .. after .. '|' .. created .. '|' .. due .. '|'
        if type(redis.pcall('HSET', session, name, value, '', head)) == 'number' then
            return '0\n' .. version .. '\n' .. time[1] .. '\n' .. time[2] .. '\n' .. created .. '\n' .. due .. '\n\n' .. (held[2] or '') .. sum
        end
    end
end

-- The sum of two integers as text; nil and 4 if `held` is none, nil and 5 if the sum is none.
local function sum(held, by)
    local digits = string.match(held, '^[ \t\r\n]*(-?%d+)[ \t\r\n]*$')
    if not digits then
        return nil, 4
    end
    -- Sums of up to 15 digits are exact in a double. Longer ones are added in two halves.
    if #digits <= 15 and #by <= 15 then
        return string.format('%d', digits + by)
    end
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
for at = CHANGES + 1, #ARGV, 3 do
    fields[#fields + 1] = ARGV[at]
end
-- `unpack` fills the stack, which holds fewer than 8,000 values.
local held = redis.pcall('HMGET', session, unpack(fields, 1, math.min(#fields, 1000)))
if held.err then
    if not string.find(held.err, 'WRONGTYPE', 1, true) then
        redis.call('HMGET', session, '')
    end
    return '3'
end
for from = 1001, #fields, 1000 do
    local values = redis.call('HMGET', session, unpack(fields, from, math.min(from + 999, #fields)))
    for at = 1, #values do
        held[from + at - 1] = values[at]
    end
end
if not held[1] then
    return redis.call('EXISTS', session) == 1 and '3' or '2'
end
local version, bytes, created, due, lifetime = string.match(held[1], HEAD)
-- Up to 14 digits are exact in a double and joined as they are written. A lifetime is words: i and a with a number, b, p.
if not version or #version > 14 or #bytes > 14 or #created > 14 or #due > 14 then
    return '3'
end
if lifetime ~= '' and not string.find(string.gsub(string.gsub(' ' .. lifetime, ' [ia]%d+', '|'), ' [bp]', '|'), '^|+$') then
    return '3'
end
local deadline = tonumber(due)
if deadline <= now then
    return '2'
end
if ARGV[1] ~= '' and ARGV[1] ~= version then
    return '1'
end
if target and redis.call('EXISTS', target) == 1 then
    local head = redis.pcall('HGET', target, '')
    local taken_until = type(head) == 'string' and string.match(head, '^1|%d+|%d+|%d+|(%d+)|')
    if not taken_until or tonumber(taken_until) > now then
        return '1'
    end
end

local before = tonumber(bytes)
local after = cleared and 0 or before
local set, removed, sums = {}, {}, {}
for at = CHANGES, #ARGV, 3 do
    local kind, name, value = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    local number = (at - CHANGES) / 3 + 1
    local old = not cleared and held[number + 2]
    if kind == 'a' then
        local total, refusal = sum(old or '0', value)
        if not total then
            return refusal .. '\n' .. number
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
if after > tonumber(ARGV[2]) and after > before then
    return '6\n' .. after
end

local former = held[2] or ''
local principal = former
if new_principal == '-' then
    principal = ''
elseif new_principal ~= '' then
    principal = string.sub(new_principal, 2)
end
if new_ttl ~= '' then
    deadline = now + tonumber(new_ttl)
    due = string.format('%.0f', deadline)
end
local reindexed = principal ~= '' and (target or principal ~= former or new_ttl ~= '')
if index_prefix == '' and reindexed and (ARGV[10] ~= '=' .. principal or deadline - now > tonumber(ARGV[11])) then
    return '7\n' .. principal .. '\n' .. (deadline - now)
end

local kind = reindexed and index_prefix ~= '' and redis.call('TYPE', index_prefix .. principal).ok
if kind and kind ~= 'none' and kind ~= 'zset' then
    -- Somebody else's key lies where the index should. Better unchanged than a session that no list shows.
    return redis.error_reply('WRONGTYPE the index of a user is no sorted set')
end

-- From here on nothing refuses but a server that is full. It refuses a script's first write if that may need memory, and no later one.
version = version + (grows and 1 or 0)
if new_lifetime ~= '' then
    lifetime = string.sub(new_lifetime, 2)
end
if cleared then
    local kept = { [''] = true, ['\t'] = true }
    for at = 1, #set, 2 do
        kept[set[at]] = true
    end
    for _, name in ipairs(redis.call('HKEYS', session)) do
        removed[#removed + 1] = not kept[name] and name or nil
    end
end
if new_ttl ~= '' or grows then
    -- Numbers of up to 14 digits are joined as they are written.
    set[#set + 1], set[#set + 2] = '', '1|' .. version .. '|' .. after .. '|' .. created .. '|' .. due .. '|' .. lifetime
end
if principal ~= former then
    if principal == '' then
        removed[#removed + 1] = '\t'
    else
        set[#set + 1], set[#set + 2] = '\t', principal
    end
end
if #set > 0 then
    local written = redis.pcall('HSET', session, unpack(set, 1, math.min(#set, 1000)))
    if type(written) == 'table' then
        -- What makes a record larger is refused, whole: nothing was written yet. Anything else passes behind a write that needs no memory;
        -- no field has this name.
        if after > before then
            -- Once more, so that it is an error of the script, in the form of all others.
            return redis.call('HSET', session, unpack(set, 1, math.min(#set, 1000)))
        end
        redis.call('HDEL', session, '\n')
        redis.call('HSET', session, unpack(set, 1, math.min(#set, 1000)))
    end
    for from = 1001, #set, 1000 do
        redis.call('HSET', session, unpack(set, from, math.min(from + 999, #set)))
    end
end
for from = 1, #removed, 1000 do
    redis.call('HDEL', session, unpack(removed, from, math.min(from + 999, #removed)))
end
if target then
    redis.call('RENAME', session, target)
end
if index_prefix ~= '' then
    if former ~= '' and (target or principal ~= former) then
        -- What is no sorted set lists nobody.
        redis.pcall('ZREM', index_prefix .. former, ARGV[12])
    end
    if reindexed then
        local index = index_prefix .. principal
        redis.call('ZADD', index, due, ARGV[13])
        -- Those whose time is over go, so that a user who signs in day after day leaves no trail.
        redis.call('ZREMRANGEBYSCORE', index, '-inf', string.format('%.0f', now))
        if redis.call('PTTL', index) < deadline - now then
            redis.call('PEXPIREAT', index, string.format('%.0f', deadline + 1000))
        end
    end
end
if new_ttl ~= '' then
    -- Last: a deadline that has passed meanwhile takes the key away, and a later write would bring back a part of it.
    redis.call('PEXPIREAT', target or session, due)
end
return '0\n' .. version .. '\n' .. time[1] .. '\n' .. time[2] .. '\n' .. created .. '\n' .. due .. '\n' .. lifetime .. '\n' .. former
    .. (#sums > 0 and '\n' .. table.concat(sums, '\n') or '')
