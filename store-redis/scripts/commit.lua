-- Applies a commit in one step.
--
-- KEYS[1] the session. ARGV  1 the hash of the request's secret    2 most bytes of data
--       3 the version that must hold, or ''      4 new ttl in ms, or ''            5 '1' to drop all values first, or ''
--       6 '1' if the version grows, or ''        7 '=' and new attributes, or ''
--       8 '=' and the new principal, '-' for none, or '' to keep it
--       9 'now' or 'none' for a new time of the authentication, or ''             10 the new since, or ''
--      11 the hash of the new secret, or ''     12 its generation                 13 grace of the former one in ms, or ''
--      14 '1' if indexes are on this node, or ''
--      15 '=' and the principal whose index has the session already, or ''        16 for how many ms from now
-- then for each change: 's', name, JSON text; 'r', name, ''; 'a', name, summand. After the short way it has that one's arguments.
--
-- Answers with one text: '0', head, now in 6 bytes (0 if it was not asked for), then lines: the former principal if there is another one now, the
-- sums, the attributes (which may have line breaks themselves); or one of
-- 1: the guard does not hold      2: gone      3: what is stored cannot be read      8: the secret is superseded
-- 4, n: the n-th name is no integer      5, n: its sum leaves 64 bits      6, bytes: too large
-- 7, principal, ms: the index of this principal has to have the session first, for so long
local session = KEYS[1]
local prefix, key = parts(session)
local changes, FIRST = ARGV, 17
local guard, ttl, clear, grows, attributes, principal, authenticated, since = '', '', '', '1', '', '', '', ''
local secret, generation, grace, here, indexed, indexed_for = '', '', '', '', '', ''
if ONE then
    changes, FIRST, guard = { ONE, ARGV[4], ARGV[5] }, 1, ARGV[6] or ''
else
    guard, ttl, clear, grows, attributes, principal, authenticated, since, secret, generation, grace, here, indexed, indexed_for =
        unpack(ARGV, 3, 16)
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

-- What the hash holds under the fixed fields and every changed name, in this order.
local fields = { '', '\1', '\2', '\t', '\4' }
for at = FIRST + 1, #changes, 3 do
    fields[#fields + 1] = changes[at]
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
local now = clock()
local due = opened(held[1])
if due and due <= now or not held[1] and redis.call('EXISTS', session) == 0 then
    return '2'
end
local is = record(held)
if not is then
    return '3'
end
if is.secret ~= ARGV[1] then
    return '8'
end
if guard ~= '' and tonumber(guard) ~= is.version then
    return '1'
end

local after = clear ~= '' and 0 or is.bytes
local set, removed, sums = {}, {}, {}
for at = FIRST, #changes, 3 do
    local kind, name, value = changes[at], changes[at + 1], changes[at + 2]
    local number = (at - FIRST) / 3 + 1
    local old = clear == '' and held[number + 5]
    if kind == 'a' then
        local total, refusal = sum(old or '0', value)
        if not total then
            return refusal .. '\n' .. number
        end
        value, sums[#sums + 1] = total, total .. '\n'
    end
    after = after - (old and #name + #old or 0)
    if kind == 'r' then
        removed[#removed + 1] = old and name or nil
    else
        after = after + #name + #value
        set[#set + 1], set[#set + 2] = name, value
    end
end
if after > tonumber(ARGV[2]) and after > is.bytes then
    return '6\n' .. after
end

local former = is.principal
principal = principal == '' and former or string.sub(principal, 2)
due = ttl == '' and is.due or now + tonumber(ttl)
local reindexed = principal ~= '' and (principal ~= former or ttl ~= '')
if here == '' and reindexed and (indexed ~= '=' .. principal or due - now > tonumber(indexed_for)) then
    return '7\n' .. principal .. '\n' .. string.format('%.0f', due - now)
end
local refusal = here ~= '' and reindexed and obstacle(prefix .. 'u}' .. principal)
if refusal then
    return refusal
end

-- From here on only a full server refuses. It refuses a script's first write if that may need memory, and no later one.
local function put(name, value)
    if value == '' then
        removed[#removed + 1] = name
    else
        set[#set + 1], set[#set + 2] = name, value
    end
end
if clear ~= '' then
    local kept = {}
    for at = 1, #set, 2 do
        kept[set[at]] = true
    end
    for _, name in ipairs(redis.call('HKEYS', session)) do
        -- Fields that hold no value are named by a control character or by nothing.
        removed[#removed + 1] = not kept[name] and string.find(name, '^%C') and name or nil
    end
end
if attributes ~= '' then
    is.attributes = string.sub(attributes, 2)
    put('\4', is.attributes)
end
if principal ~= former then
    put('\t', principal)
end
if authenticated == 'now' and principal ~= '' then
    is.authenticated = now
elseif authenticated == 'none' then
    is.authenticated = 0
end
if secret ~= '' then
    put('\1', secret)
    put('\3', grace ~= '' and is.secret .. struct.pack('>i6', now + tonumber(grace)) or '')
    is.generation, is.rotated = tonumber(generation), now
end
if secret ~= '' or since ~= '' and tonumber(since) ~= is.since then
    put('\2', struct.pack(ROTATED, is.generation, since ~= '' and tonumber(since) or is.since, is.rotated))
end
local version = math.min(is.version + (grows ~= '' and 1 or 0), 9007199254740992)
local head = struct.pack(HEAD, 2, due, is.created, is.authenticated, version, after, #is.attributes)
if head ~= held[1] then
    put('', head)
end
if #set > 0 then
    local written = redis.pcall('HSET', session, unpack(set, 1, math.min(#set, 1000)))
    if type(written) == 'table' then
        -- The server refuses, whole, a commit that makes the data larger: nothing was written yet. Any other passes behind a write that
        -- needs no memory; no field has this name.
        if after > is.bytes then
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
if here ~= '' then
    if former ~= '' and principal ~= former then
        leave(prefix .. 'u}' .. former, key)
    end
    if reindexed then
        enter(prefix .. 'u}' .. principal, key, due, now, now)
    end
end
if ttl ~= '' then
    -- Last: a deadline that has passed meanwhile deletes the key, and a later write would bring back a part of it.
    redis.call('PEXPIREAT', session, string.format('%.0f', due))
end
return '0' .. head .. struct.pack('>i6', now) .. (principal ~= former and former or '') .. '\n' .. table.concat(sums) .. is.attributes
