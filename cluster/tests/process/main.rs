//! Tests of real processes: a primary and its workers, started, killed and stopped as by a user and
//! by the system.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its helper functions")]
#![expect(clippy::print_stdout, reason = "measurements are shown with --nocapture")]

mod control;
mod control_dir;
mod descriptors;
mod failures;
mod harness;
mod heartbeat;
mod load;
mod messages;
mod orphans;
mod pid_file;
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
