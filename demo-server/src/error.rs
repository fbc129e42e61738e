//! [`AppError`]: why the program ends with an error, and how it prints that.

use std::{
    error::Error,
    fmt::Write as _,
    io::{self, Write as _},
    process::ExitCode,
    sync::mpsc,
    thread,
    time::Duration,
};

use cluster::{BootError, RunError, StartError, control::ControlError};
use store_ipc::OwnerError;

use crate::settings::SettingError;

/// How long the program waits for the reader of standard error.
const REPORT_TIMEOUT: Duration = Duration::from_secs(1);

/// Why the program ends with an exit code other than 0.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppError {
    #[error(transparent)]
    Setting(#[from] SettingError),
    #[error(transparent)]
    Boot(#[from] BootError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Owner(#[from] OwnerError),
    #[error("cannot take over the sessions of the old primary")]
    Takeover(#[from] store_ipc::TakeoverError),
    #[error("cannot hand the sessions over to the new primary")]
    Handover(#[from] store_ipc::HandoverError),
    #[error("cannot open the session store")]
    Store(#[from] store_any::ConnectError),
    #[error("{failed} of {all} checks of the store failed; the report has the remedies")]
    CheckFailed { failed: usize, all: usize },
    #[error("the cookie settings are not valid")]
    Cookie(#[from] session_core::cookie::CookieError),
    #[error("cannot build the session middleware")]
    Sessions(#[from] session_actix::BuildError),
    #[error(transparent)]
    Origin(#[from] session_core::origin::InvalidOrigin),
    #[error("the primary process has ended")]
    PrimaryGone(#[from] cluster::Gone),
    #[error("a metrics recorder is already installed in this process")]
    RecorderInstalled,
    #[error("{what}")]
    Io { what: &'static str, source: io::Error },
}

impl AppError {
    /// Wraps an error of the operating system. `what` says which operation failed.
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    /// Prints the error and its sources on standard error, and returns the exit code: 2 for an
    /// invalid setting, as shells and clap do, and 1 for all other errors.
    pub(crate) fn report(&self) -> ExitCode {
        let mut text = self.full_text();
        text.push('\n');
        // One write, unlike `eprintln!`, because several workers may report at the same time. If
        // standard error is closed or not read, the exit code still tells the result.
        let (written, wait) = mpsc::channel();
        thread::spawn(move || {
            let _ = written.send(io::stderr().write_all(text.as_bytes()));
        });
        let _ = wait.recv_timeout(REPORT_TIMEOUT);
        ExitCode::from(if matches!(self, Self::Setting(_)) { 2 } else { 1 })
    }

    /// The error and its sources in one line. A source is left out if the line already has its
    /// text.
    fn full_text(&self) -> String {
        let mut text = format!("demo-server: {self}");
        let mut source = self.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            let description = cause_text.split(" (os error ").next().unwrap_or_default();
            if !text.to_lowercase().contains(&description.to_lowercase()) {
                // Writing to a String cannot fail.
                let _ = write!(text, ": {cause_text}");
            }
            source = cause.source();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen_error(number: i32) -> AppError {
        AppError::Start(StartError::Listen {
            name: "http".to_owned(),
            address: "127.0.0.1:3000".to_owned(),
            source: io::Error::from_raw_os_error(number),
        })
    }

    #[test]
    fn a_source_that_the_text_contains_is_not_repeated() {
        // EADDRINUSE and EMFILE on Linux.
        let (in_use, too_many) = (listen_error(98).full_text(), listen_error(24).full_text());
        assert_eq!(in_use.to_lowercase().matches("already in use").count(), 1, "{in_use}");
        assert!(too_many.ends_with("Too many open files (os error 24)"), "{too_many}");
    }
}
