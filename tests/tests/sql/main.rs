//! SQL databases: the servers that tests are given, and what is tested on them.
#![expect(clippy::expect_used, reason = "a test that cannot do its part fails and says what it could not do")]
#![expect(clippy::print_stderr, reason = "the figures that a test measured, for --nocapture")]

/// What a hand on a server gave back; returns from the test, with the reason on its output, if the server is not ours.
macro_rules! ours {
    ($hand:expr) => {
        match $hand {
            Ok(given) => given,
            Err(not_ours) => return eprintln!("{not_ours}"),
        }
    };
}

mod bounds;
mod conformance;
mod connections;
mod crash;
mod explain;
mod faults;
mod hands;
mod heard;
mod retries;
mod rig;
mod round_trips;
mod session;
mod tables;
