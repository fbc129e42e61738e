-- Ends a session. Needs no memory, so it works on a full server.
--
-- KEYS[1] the session. ARGV[1] the generation of the claim, or ''. ARGV[2] '=' and the principal that it must have to be ended, or ''.
-- ARGV[3] '1' if indexes are on this node, or ''. ARGV[4] '1' if the replicas have to learn of it, or ''.
-- Answers { 0 for missing, 1 for ended, 2 for superseded; its principal or '' }.
local held = redis.pcall('HMGET', KEYS[1], '', '\1', '\2', '\t', '\4')
local due, principal = opened(held[1]), held[4] or ''
local dead = due and due <= clock()
local read = not dead and record(held)
-- A record that cannot be read is ended as well.
if read and ARGV[1] ~= '' and read.since > tonumber(ARGV[1]) then
    return { 2, '' }
end
if held[1] and ARGV[2] ~= '' and ARGV[2] ~= '=' .. principal then
    return { 0, '' }
end
local removed = redis.call('UNLINK', KEYS[1])
if removed == 0 and ARGV[4] ~= '' then
    -- It is gone already, perhaps by a call whose answer was lost. WAIT waits for this connection's last write, so there has to be one.
    redis.call('SET', KEYS[1], '', 'PX', 1)
    redis.call('UNLINK', KEYS[1])
end
if principal ~= '' and ARGV[3] ~= '' then
    local prefix, key = parts(KEYS[1])
    leave(prefix .. 'u}' .. principal, key)
end
return { removed == 1 and not dead and 1 or 0, principal }
