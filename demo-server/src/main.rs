//! A demo of sessions that several worker processes share.

#![forbid(unsafe_code)]

mod audit;
mod bequest;
mod body;
mod connections;
mod cookies;
mod ctl;
mod metrics;
mod owner;
mod primary;
mod problem;
mod routes;
mod settings;
mod worker;

use std::process::ExitCode;

use cluster::Role;

fn main() -> ExitCode {
    // First of all, before a thread or a runtime exists: the same program is the primary and,
    // started by it, a worker.
    let ended = match cluster::role() {
        Ok(Role::Primary(builder)) => primary::run(builder),
        Ok(Role::Worker(boot)) => worker::run(boot),
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => problem.report(),
    }
}
