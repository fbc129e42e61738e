-- Ends a session.
--
-- KEYS[1] the session. ARGV[1] what an index's name begins with, if indexes are kept on this node, or ''. ARGV[2] its place.
-- ARGV[3] '=' and the principal that it must have to be ended, or ''. ARGV[4] '1' if the replicas have to learn of it, or ''.
-- Answers { 1 if it was live else 0, its principal or '' }. Needs no memory, so it works on a full server.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.pcall('HMGET', KEYS[1], '', '\t')
local head, principal = held[1], held[2] or ''
-- What cannot be read is ended as well: it was indexed as the user's. And what is gone already goes the same way as what is there.
if ARGV[3] ~= '' and head and ARGV[3] ~= '=' .. principal then
    return { 0, principal }
end
local due = head and string.match(head, '^1|%d+|%d+|%d+|(%d+)|')
local removed = redis.call('UNLINK', KEYS[1])
if removed == 0 and ARGV[4] ~= '' then
    -- Gone already, perhaps by a call whose answer was lost. WAIT waits for this connection's last write, so there has to be one.
    redis.call('SET', KEYS[1], '', 'PX', 1)
    redis.call('UNLINK', KEYS[1])
end
if principal ~= '' and ARGV[1] ~= '' then
    -- What is no sorted set lists nobody.
    redis.pcall('ZREM', ARGV[1] .. principal, ARGV[2])
end
-- What cannot be read was there, and is not any more.
local live = removed == 1 and (not due or tonumber(due) > now)
return { live and 1 or 0, principal }
