//! Tests of `store-mongo` on real servers, and tests of the rig that starts those servers.
#![expect(clippy::expect_used, reason = "a test fails with the step that did not succeed")]
#![expect(clippy::print_stderr, reason = "measured values, for --nocapture")]

#[macro_use]
#[path = "../external/mod.rs"]
mod external;

mod check;
mod conformance;
mod connections;
mod corrupt;
mod deployment;
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
#[path = "../server_fixture/mod.rs"]
mod server_fixture;
mod session;
mod unresponsive;
