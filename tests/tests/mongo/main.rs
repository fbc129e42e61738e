//! Tests of `store-mongo` on real servers, and tests of the rig that starts those servers.
#![expect(clippy::expect_used, reason = "a test fails with the step that did not succeed")]
#![expect(clippy::print_stderr, reason = "measured values, for --nocapture")]

/// Unwraps the result of an action on a server. If the environment names an external server, prints
/// the reason and returns from the test, because tests do not stop or freeze external servers.
macro_rules! or_skip {
    ($action:expr) => {
        match $action {
            Ok(value) => value,
            Err(external) => return eprintln!("{external}"),
        }
    };
}

mod conformance;
mod connections;
mod corrupt;
mod edge_cases;
mod explain;
mod failover;
mod indexes;
mod load;
mod logs;
mod monitor;
mod retries;
mod rig;
mod round_trips;
mod session;
mod unresponsive;
