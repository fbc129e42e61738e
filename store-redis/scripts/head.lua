-- The head of a record, for all scripts.

-- The layout of a head: format 2, deadline, creation and authentication (0 for none) in ms,
-- version, bytes of data, bytes of the attributes.
local HEAD = '>Bi6i6i6I7I4B'

-- Whether a session with this deadline is expired at `now`. Both are ms of the server's clock.
-- A session is expired from the millisecond of its deadline on.
--
-- Every script asks this function about sessions. The function `is_expired` in `src/codec.rs`
-- applies the same rule to loads, lists and scans: change both together. A rule that lets sessions
-- live longer also has to change the calls of PEXPIREAT in `create.lua` and `commit.lua`, the
-- entries of an index (`add_entry` in `shared.lua`), and `until` in `src/codec.rs`.
local function is_expired(deadline, now)
    return deadline <= now
end
