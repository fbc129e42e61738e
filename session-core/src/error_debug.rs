//! A `Debug` of errors that shows the same text as `Display`, followed by the sources.
//!
//! A `main` that returns `Result<(), Box<dyn Error>>` prints the `Debug` form of the error. With
//! the derived form, the user of the program would see the name of a variant instead of the
//! message.

use std::{error::Error, fmt};

/// Writes the text of an error and of its sources in one line, separated by `: `.
///
/// # Errors
/// The error of the formatter.
pub fn write_with_sources(error: &dyn Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{error}")?;
    let mut source = error.source();
    while let Some(cause) = source {
        write!(f, ": {cause}")?;
        source = cause.source();
    }
    Ok(())
}

/// Implements `Debug` for errors by [`write_with_sources`](crate::error_debug::write_with_sources).
/// The crates of the stores use it too. It is not part of the stable API.
#[doc(hidden)]
#[macro_export]
macro_rules! debug_as_display {
    ($($error:ty),+ $(,)?) => {
        $(impl std::fmt::Debug for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $crate::error_debug::write_with_sources(self, f)
            }
        })+
    };
}

pub(crate) use debug_as_display;
