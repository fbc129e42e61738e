-- Ends a session. This needs no memory, so it works on a full server.
--
-- KEYS[1] the session's hash
-- ARGV  1 the generation of the claim, or ''
--       2 '=' and the principal that the session must have, or ''
--       3 '1' if this node has the indexes, or ''
--       4 '1' if the caller waits for replicas, or ''
-- Answer: { 0 if the session is missing, 1 if it has ended, 2 if the claim is superseded;
--           its principal, or '' }
local stored = redis.pcall('HMGET', KEYS[1], '', '\1', '\2', '\t', '\4')
local deadline, principal = read_head(stored[1]), stored[4] or ''
local expired = deadline and is_expired(deadline, server_time())
local record = not expired and read_record(stored)
-- An unreadable record ends as well.
if record and ARGV[1] ~= '' and record.since > tonumber(ARGV[1]) then
    return { 2, '' }
end
if stored[1] and ARGV[2] ~= '' and ARGV[2] ~= '=' .. principal then
    return { 0, '' }
end
local removed = redis.call('UNLINK', KEYS[1])
if removed == 0 and ARGV[4] ~= '' then
    -- The session is already gone, perhaps through a call whose answer was lost. WAIT waits for the
    -- last write of its connection, so the script has to write something.
    redis.call('SET', KEYS[1], '', 'PX', 1)
    redis.call('UNLINK', KEYS[1])
end
if principal ~= '' and ARGV[3] ~= '' then
    local prefix, key = split_name(KEYS[1])
    remove_entry(prefix .. 'u}' .. principal, key)
end
return { removed == 1 and not expired and 1 or 0, principal }
