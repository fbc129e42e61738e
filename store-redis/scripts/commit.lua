-- Applies a commit as one atomic step.
--
-- KEYS[1] the session's hash
-- ARGV  1 hash of the request's secret            2 maximum bytes of data
--       3 the version that must match, or ''      4 new ttl in ms, or ''
--       5 '1' to remove all values first, or ''   6 '1' if the version grows, or ''
--       7 '=' and new attributes, or ''
--       8 '=' and the new principal, '-' for none, or '' to keep it
--       9 'now' or 'none': the new time of the authentication, or '' to keep it
--      10 the new since, or ''                   11 hash of the new secret, or ''
--      12 its generation                         13 grace of the former secret in ms, or ''
--      14 '1' if this node has the indexes, or ''
--      15 '=' and the principal whose index already has the session, or ''
--      16 how long that entry is valid, in ms
-- After that three arguments for each change: 's', name, JSON text; 'r', name, ''; 'a', name,
-- summand. If SINGLE is set, the arguments are those of `fast_path.lua`.
--
-- Answer: one text. A commit that took effect: '0', the head, now in 6 bytes (0 if the script did
-- not ask for it), then lines: the former principal if the principal changed, the sums, and the
-- attributes, which may contain line breaks. Any other commit changed nothing:
-- 1: the version does not match   2: gone   3: unreadable record   8: superseded secret
-- 4, n: the n-th value is not an integer    5, n: its sum does not fit into 64 bits
-- 6, bytes: the data is too large
-- 7, principal, ms: first the index of this principal needs an entry that is valid for that time
local session = KEYS[1]
local prefix, key = split_name(session)
local changes, FIRST = ARGV, 17
local guard, ttl, clear, grows = '', '', '', '1'
local attributes, principal, authenticated, since = '', '', '', ''
local secret, generation, grace, local_index, indexed, indexed_for = '', '', '', '', '', ''
if SINGLE then
    changes, FIRST, guard = { SINGLE, ARGV[4], ARGV[5] }, 1, ARGV[6] or ''
else
    guard, ttl, clear, grows, attributes, principal, authenticated, since, secret, generation,
        grace, local_index, indexed, indexed_for = unpack(ARGV, 3, 16)
end

-- The sum of two integers as text. Otherwise nil and a verdict: 4 if `old` is not an integer, 5 if
-- the sum does not fit into 64 bits.
local function sum(old, by)
    local digits = string.match(old, '^[ \t\r\n]*(-?%d+)[ \t\r\n]*$')
    if not digits then
        return nil, 4
    end
    -- A double holds sums of up to 15 digits exactly. Longer numbers are added in two halves.
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
    -- Whether high * 10^10 + low fits into a signed 64-bit integer.
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
    -- Give both halves the same sign, so that their digits can be joined.
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

-- The stored values of the fixed fields and of every changed name, in this order.
local fields = { '', '\1', '\2', '\t', '\4' }
for at = FIRST + 1, #changes, 3 do
    fields[#fields + 1] = changes[at]
end
-- `unpack` fills Lua's stack, which holds fewer than 8,000 values.
local stored = redis.pcall('HMGET', session, unpack(fields, 1, math.min(#fields, 1000)))
if stored.err then
    if not string.find(stored.err, 'WRONGTYPE', 1, true) then
        redis.call('HMGET', session, '')
    end
    return '3'
end
for from = 1001, #fields, 1000 do
    local values = redis.call('HMGET', session, unpack(fields, from, math.min(from + 999, #fields)))
    for at = 1, #values do
        stored[from + at - 1] = values[at]
    end
end
local now = server_time()
local record = read_record(stored)
local deadline = record and record.deadline or read_head(stored[1])
if deadline and is_expired(deadline, now)
    or not stored[1] and redis.call('EXISTS', session) == 0 then
    return '2'
end
if not record then
    return '3'
end
if record.secret ~= ARGV[1] then
    return '8'
end
if guard ~= '' and tonumber(guard) ~= record.version then
    return '1'
end

local after = clear ~= '' and 0 or record.bytes
local set, removed, sums = {}, {}, {}
for at = FIRST, #changes, 3 do
    local kind, name, value = changes[at], changes[at + 1], changes[at + 2]
    local number = (at - FIRST) / 3 + 1
    local old = clear == '' and stored[number + 5]
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
if after > tonumber(ARGV[2]) and after > record.bytes then
    return '6\n' .. after
end

local former = record.principal
principal = principal == '' and former or string.sub(principal, 2)
deadline = ttl == '' and record.deadline or now + tonumber(ttl)
local index_changes = principal ~= '' and (principal ~= former or ttl ~= '')
if local_index == '' and index_changes then
    if indexed ~= '=' .. principal or deadline - now > tonumber(indexed_for) then
        return '7\n' .. principal .. '\n' .. string.format('%.0f', deadline - now)
    end
end
local refusal = local_index ~= '' and index_changes and index_conflict(prefix .. 'u}' .. principal)
if refusal then
    return refusal
end

-- From here on only a full server refuses the commit. It refuses only the first write of a script,
-- and only if that write may need memory.
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
        -- The names of the fixed fields are empty or begin with a control character.
        removed[#removed + 1] = not kept[name] and string.find(name, '^%C') and name or nil
    end
end
if attributes ~= '' then
    record.attributes = string.sub(attributes, 2)
    put('\4', record.attributes)
end
if principal ~= former then
    put('\t', principal)
end
if authenticated == 'now' and principal ~= '' then
    record.authenticated = now
elseif authenticated == 'none' then
    record.authenticated = 0
end
if secret ~= '' then
    put('\1', secret)
    put('\3', grace ~= '' and record.secret .. struct.pack('>i6', now + tonumber(grace)) or '')
    record.generation, record.rotated = tonumber(generation), now
end
if secret ~= '' or since ~= '' and tonumber(since) ~= record.since then
    local new_since = since ~= '' and tonumber(since) or record.since
    put('\2', struct.pack(ROTATED, record.generation, new_since, record.rotated))
end
local version = math.min(record.version + (grows ~= '' and 1 or 0), 9007199254740992)
local head = struct.pack(HEAD, 2, deadline, record.created, record.authenticated, version, after,
    #record.attributes)
if head ~= stored[1] then
    put('', head)
end
if #set > 0 then
    local written = redis.pcall('HSET', session, unpack(set, 1, math.min(#set, 1000)))
    if type(written) == 'table' then
        -- The server is full and nothing is written yet. A commit that makes the data larger fails.
        -- Any other commit first makes a write that needs no memory. No field has this name, so
        -- that write changes nothing.
        if after > record.bytes then
            -- Repeat the call, so that the script fails with an error in the usual form.
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
if local_index ~= '' then
    if former ~= '' and principal ~= former then
        remove_entry(prefix .. 'u}' .. former, key)
    end
    if index_changes then
        add_entry(prefix .. 'u}' .. principal, key, deadline, now, now)
    end
end
if ttl ~= '' then
    -- The last write: if the deadline has passed meanwhile, PEXPIREAT deletes the key, and a later
    -- write would create a part of it again.
    redis.call('PEXPIREAT', session, string.format('%.0f', deadline))
end
return '0' .. head .. struct.pack('>i6', now) .. (principal ~= former and former or '')
    .. '\n' .. table.concat(sums) .. record.attributes
