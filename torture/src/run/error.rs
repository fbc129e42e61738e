//! Errors that end a run without a verdict.

use std::fmt;

/// A failure of this program or of the machine, such as a full disk. Answers of the store are
/// recorded and are not errors.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The run could not be started or finished. It gives no verdict on the store.
#[derive(Debug)]
pub struct RunError(BoxError);

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for RunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl From<BoxError> for RunError {
    fn from(error: BoxError) -> Self {
        Self(error)
    }
}

impl From<std::io::Error> for RunError {
    fn from(error: std::io::Error) -> Self {
        Self(error.into())
    }
}
