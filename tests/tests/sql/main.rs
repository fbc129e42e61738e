//! SQL databases: the servers that tests are given, and what is tested on them.
#![expect(clippy::expect_used, reason = "a test that cannot do its part fails and says what it could not do")]

/// What a hand on a server gave back; returns from the test, with the reason on its output, if the server is not ours.
macro_rules! ours {
    ($hand:expr) => {
        match $hand {
            Ok(given) => given,
            Err(not_ours) => return eprintln!("{not_ours}"),
        }
    };
}

mod rig;
