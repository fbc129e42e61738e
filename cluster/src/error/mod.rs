//! The errors of the crate.

mod message;
mod run;
mod start;

use std::{error::Error, fmt};

pub use crate::model::DecodeError;
pub use message::{Gone, ReplyError, RequestError, SendError};
pub use run::{ReloadError, RunError, ScaleError, UpgradeError};
pub use start::{BootError, StartError};

/// Displays an error with all of its sources, separated by `": "`. For logs and replies.
pub(crate) struct WithSources<'a>(pub(crate) &'a dyn Error);

impl fmt::Display for WithSources<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}
