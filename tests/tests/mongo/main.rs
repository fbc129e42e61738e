//! MongoDB: the servers that tests are given, and what is tested on them.
#![expect(
    clippy::expect_used,
    reason = "a test that cannot do its part fails and says what it could not do"
)]
#![expect(clippy::print_stderr, reason = "the figures that a test measured, for --nocapture")]

/// What a hand on a server gave back; returns from the test, with the reason on its output, if the
/// server is not ours.
macro_rules! ours {
    ($hand:expr) => {
        match $hand {
            Ok(given) => given,
            Err(not_ours) => return eprintln!("{not_ours}"),
        }
    };
}

mod conformance;
mod corrupt;
mod edges;
mod explain;
mod failover;
mod indexes;
mod load;
mod logs;
mod monitor;
mod reach;
mod retries;
mod rig;
mod round_trips;
mod session;
mod silence;
