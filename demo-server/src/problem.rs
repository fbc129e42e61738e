//! How the program says that it cannot go on.

use std::{
    error::Error,
    fmt::Write as _,
    io::{self, Write as _},
    process::ExitCode,
};

use cluster::{BootError, RunError, StartError, control::ControlError};
use store_ipc::OwnerError;

use crate::settings::SettingError;

/// Why the program ends with a code other than 0.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
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
    #[error("the sessions of the primary before this one did not come")]
    Takeover(#[from] store_ipc::TakeoverError),
    #[error("the sessions did not go to the primary that follows")]
    HandOver(#[from] store_ipc::HandoverError),
    #[error("cannot open the session store")]
    Store(#[from] store_any::ConnectError),
    #[error("the cookie cannot be made as configured")]
    Cookie(#[from] session_core::cookie::CookieError),
    #[error("the session middleware cannot be built")]
    Sessions(#[from] session_actix::BuildError),
    #[error(transparent)]
    Origin(#[from] session_core::origin::InvalidOrigin),
    #[error("the primary process is gone")]
    PrimaryGone(#[from] cluster::Gone),
    #[error("cannot listen on {address}, where --metrics is to be served; choose a free port")]
    Metrics { address: std::net::SocketAddr, source: io::Error },
    #[error("something in this process counts already")]
    CountedElsewhere,
    #[error("{what}")]
    Io { what: &'static str, source: io::Error },
}

impl Problem {
    /// Wraps what the operating system said.
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    /// Prints the problem with its causes on standard error; 2 for a bad setting, as shells and
    /// clap have it, 1 for the rest.
    pub(crate) fn report(&self) -> ExitCode {
        let mut text = format!("demo-server: {self}");
        let mut source = self.source();
        while let Some(cause) = source {
            // Writing to a String cannot fail.
            let _ = write!(text, ": {cause}");
            source = cause.source();
        }
        text.push('\n');
        // In one write, which `eprintln!` does not do: several workers may say the same at once. If
        // nobody hears it, the code is left.
        let _ = io::stderr().write_all(text.as_bytes());
        ExitCode::from(if matches!(self, Self::Setting(_)) { 2 } else { 1 })
    }
}
