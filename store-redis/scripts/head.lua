-- The head of a record, for all scripts.

-- The layout of a head: format 2, deadline, creation and authentication (0 for none) in ms,
-- version, bytes of data, bytes of the attributes.
local HEAD = '>Bi6i6i6I7I4B'

-- Whether a session with this deadline is expired at `now`. Both are ms of the server's clock.
-- A session is expired from the millisecond of its deadline on.
--
-- Every script asks this function. The function `is_expired` in `src/codec.rs` applies the same
-- rule to loads, lists and scans: change both together. `create.lua` and `commit.lua` let the key
-- expire at the deadline (PEXPIREAT): a rule that lets sessions live longer has to change those
-- calls too.
local function is_expired(deadline, now)
    return deadline <= now
end
