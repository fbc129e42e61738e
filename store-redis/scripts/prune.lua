-- Takes places out of a user's index whose time there is over. One that was put in anew meanwhile stays.
--
-- KEYS[1] the index. ARGV: the places. Answers how many went.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local gone = 0
for _, place in ipairs(ARGV) do
    local due = redis.call('ZSCORE', KEYS[1], place)
    if due and tonumber(due) < now then
        gone = gone + redis.call('ZREM', KEYS[1], place)
    end
end
return gone
