//! What `store-ipc` promises beyond the store contract: hostile clients, restarts of the owner,
//! bounded calls, pages and handovers.
#![expect(clippy::unwrap_used, reason = "a missing precondition fails the test")]

#[path = "../process/mod.rs"]
mod process;

mod client;
mod gate;
mod handover;
mod hostile;
mod owner;
mod support;
