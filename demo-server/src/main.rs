//! A demo server: several worker processes serve one port and share one set of sessions.

#![forbid(unsafe_code)]

mod audit;
mod banner;
mod body;
mod check;
mod connections;
mod cookies;
mod ctl;
mod drain;
mod error;
mod handoff_secret;
mod logging;
mod metrics;
mod owner;
mod primary;
mod routes;
mod runtime;
mod settings;
mod worker;

use std::process::ExitCode;

use cluster::Role;

fn main() -> ExitCode {
    // The primary starts this program again for each worker. The role must be known before the
    // process has a second thread or a runtime.
    let ended = match cluster::role() {
        Ok(Role::Primary(builder)) => primary::run(builder),
        Ok(Role::Worker(boot)) => worker::run(boot),
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}
