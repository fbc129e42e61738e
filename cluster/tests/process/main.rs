//! Real processes: a primary and its workers, started, killed and stopped as a user and a system do
//! it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]
#![expect(clippy::print_stdout, reason = "figures of a run are shown with --nocapture")]

mod control;
mod descriptors;
mod failures;
mod hangs;
mod harness;
mod messages;
mod orphans;
mod pid_file;
mod place;
mod process_one;
mod recycling;
mod reload;
mod requests;
mod respawn;
mod scaling;
mod serving;
mod stopping;
mod systemd;
mod upgrade;
