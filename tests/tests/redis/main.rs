//! Black-box tests of `store-redis` on real servers.
#![expect(
    clippy::expect_used,
    reason = "a test fails if a step of it fails, with a text that names the step"
)]
#![expect(clippy::print_stderr, reason = "tests print their measurements, shown with --nocapture")]

/// The result of an action that only servers of this test allow, such as a stop. If the server is
/// external, the macro prints the reason and returns from the test.
macro_rules! ours {
    ($action:expr) => {
        match $action {
            Ok(result) => result,
            Err(not_ours) => return eprintln!("{not_ours}"),
        }
    };
}

mod conformance;
mod connections;
mod corrupt;
mod durability;
mod edge_cases;
mod failover;
mod full;
mod load;
mod network;
mod reshard;
mod rig;
mod round_trips;
mod sentinel;
mod session;
mod unresponsive;
