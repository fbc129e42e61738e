//! The command `check`: connects to the store once and prints what it needs.

use std::io::{self, Write};

use session_core::report::{Check, CheckReport};

use crate::{
    error::AppError,
    runtime,
    settings::{OutputFormat, Settings},
};

/// Checks the store of these settings and prints the report.
///
/// # Errors
/// [`AppError::CheckFailed`] if a check failed.
pub(crate) fn run(settings: &Settings, format: OutputFormat) -> Result<(), AppError> {
    let report = match settings.store_url() {
        None => sessions_in_primary(),
        Some(url) => {
            let runtime = runtime::build()?;
            let report = runtime.block_on(store_any::check(&url));
            // A lookup of a name can still run on a thread that cannot be cancelled.
            runtime.shutdown_background();
            report?
        }
    };
    let text = match format {
        OutputFormat::Text => report.to_string(),
        // Serializing texts cannot fail.
        OutputFormat::Json => serde_json::to_string(&report).unwrap_or_default() + "\n",
    };
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(AppError::io("cannot write the report to standard output"))?;
    match report.failed() {
        0 => Ok(()),
        failed => Err(AppError::CheckFailed { failed, all: report.checks.len() }),
    }
}

/// The report for a server whose primary process has the sessions.
fn sessions_in_primary() -> CheckReport {
    let mut report = CheckReport::new("ipc", "the primary process");
    report.push(Check::warning(
        "durability",
        "the primary keeps the sessions in memory: they end with it, and an upgrade (USR2) hands \
         them over",
        "for sessions that survive a restart of the machine use a database: --store redis, mongo \
         or sql",
    ));
    report
}
