//! A `Debug` of errors that shows the same text as `Display`, followed by the sources.
//!
//! A `main` that returns `Result<(), Box<dyn Error>>` prints the `Debug` form of the error. With
//! the derived form, the user of the program would see the name of a variant instead of the
//! message.

use std::{error::Error, fmt};

/// Writes the text of an error and of its sources in one line, separated by `: `.
pub(crate) fn write_with_sources(error: &dyn Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{error}")?;
    let mut source = error.source();
    while let Some(cause) = source {
        write!(f, ": {cause}")?;
        source = cause.source();
    }
    Ok(())
}

/// Implements `Debug` for errors by [`write_with_sources`].
macro_rules! debug_as_display {
    ($($error:ty),+ $(,)?) => {
        $(impl std::fmt::Debug for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                crate::error_debug::write_with_sources(self, f)
            }
        })+
    };
}

pub(crate) use debug_as_display;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::{
        BoxError, Rejection, SessionError, StoreError,
        cookie::{Key, KeyRing, WeakKey},
    };

    #[test]
    fn debug_shows_the_message_and_the_sources() {
        let timeout = StoreError::Timeout { store: "redis", after: Duration::from_secs(2) };
        assert_eq!(format!("{timeout:?}"), "the redis store did not answer within 2s");
        let source = BoxError::from("connection refused");
        let unavailable = StoreError::Unavailable { store: "redis", source };
        let shown = "the redis store is unavailable: connection refused";
        assert_eq!(format!("{unavailable:?}"), shown);
        assert_eq!(format!("{:?}", SessionError::from(unavailable)), shown);
        let rejection = Rejection::PrincipalWithoutRotation;
        assert_eq!(format!("{:?}", StoreError::from(rejection.clone())), rejection.to_string());
    }

    #[test]
    fn main_prints_a_readable_line_for_a_weak_key() {
        let main = || -> Result<(), Box<dyn std::error::Error>> {
            let _ring = KeyRing::from(Key::parse("c2hvcnQ=")?);
            Ok(())
        };
        let printed = format!("Error: {:?}", main().unwrap_err());
        assert_eq!(printed, format!("Error: {}", WeakKey::Short { bytes: 5 }));
    }
}
