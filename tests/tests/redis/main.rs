//! Black-box tests of `store-redis` on real servers.
#![expect(
    clippy::expect_used,
    reason = "a test fails if a step of it fails, with a text that names the step"
)]
#![expect(clippy::print_stderr, reason = "tests print their measurements, shown with --nocapture")]

#[macro_use]
#[path = "../external/mod.rs"]
mod external;

mod check;
mod conformance;
mod connections;
mod corrupt;
mod declared_keys;
mod deployment;
mod durability;
mod edge_cases;
mod failover;
mod full;
mod load;
mod network;
mod reconnecting;
mod reshard;
mod rig;
mod round_trips;
mod sentinel;
#[path = "../server_fixture/mod.rs"]
mod server_fixture;
mod session;
mod strict_server;
mod unresponsive;
